/*
 * Messages and the progress line on stderr, the report on stdout. The library may log from its own
 * threads, so each message is a single write(). A node that stays down logs the same message again
 * and again: it is printed once a minute. A failing stderr never stops the transfer; a failing
 * stdout is reported to the caller.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_MAX 2048
#define SAID_MAX 32 /* how many different messages are remembered */
#define SAID_AGAIN_MS 60000
#define STDERR_WAIT_MS 1000 /* how long to wait for a slow reader */
#define STDOUT_WAIT_MS 5000 /* the same, after a stop was asked for */

static struct {
    int32_t level;
    bool progress;
    int64_t drawn_at, started_at;
} view = {UPSTREAM_LOG_WARN, false, 0, 0};

static struct {
    pthread_mutex_t lock;
    bool stuck; /* nobody reads stderr */
    uint64_t left_out;
} messages = {PTHREAD_MUTEX_INITIALIZER, false, 0};

static struct {
    pthread_mutex_t lock;
    uint64_t hash[SAID_MAX];
    int64_t at[SAID_MAX];
    unsigned next;
} said = {PTHREAD_MUTEX_INITIALIZER, {0}, {0}, 0};

bool report_hold_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) {
            return false;
        }
    }
    return true;
}

static bool writable(int fd, int timeout_ms)
{
    struct pollfd p = {fd, POLLOUT, 0};
    int ready;
    do {
        ready = poll(&p, 1, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    return ready != 0;
}

/* Writes the message to stderr with one write(), which a pipe with room takes as a whole. Waits at
 * most STDERR_WAIT_MS; while nobody reads, messages are counted and left out. */
static void put_message(const char *text, size_t len)
{
    pthread_mutex_lock(&messages.lock);
    messages.stuck = !writable(STDERR_FILENO, messages.stuck ? 0 : STDERR_WAIT_MS);
    if (messages.stuck) {
        messages.left_out++;
    } else {
        if (messages.left_out > 0) {
            char line[128];
            int n =
                snprintf(line, sizeof line,
                         "upstream-forward: %" PRIu64 " messages were left out: nobody read them\n",
                         messages.left_out);
            messages.left_out = 0;
            ssize_t told = write(STDERR_FILENO, line, (size_t)n);
            (void)told;
        }
        ssize_t sent = write(STDERR_FILENO, text, len);
        (void)sent; /* if this fails, there is nobody to tell */
    }
    pthread_mutex_unlock(&messages.lock);
}

/* True if this message was printed within SAID_AGAIN_MS. If not, remembers it. */
static bool said_lately(const char *message)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    int64_t now = clock_ms();
    bool found = false;

    for (const char *p = message; *p != '\0'; p++) {
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    }
    pthread_mutex_lock(&said.lock);
    for (unsigned i = 0; i < SAID_MAX && !found; i++) {
        found = said.hash[i] == hash && said.at[i] != 0 && now - said.at[i] < SAID_AGAIN_MS;
    }
    if (!found) {
        said.hash[said.next] = hash;
        said.at[said.next] = now;
        said.next = (said.next + 1) % SAID_MAX;
    }
    pthread_mutex_unlock(&said.lock);
    return found;
}

static void print(int32_t level, const char *message)
{
    static const char *const names[] = {"", "error", "warning", "info", "debug", "trace"};
    char line[MESSAGE_MAX + 64];

    if (level > view.level || level < UPSTREAM_LOG_ERROR || level > UPSTREAM_LOG_TRACE) {
        return;
    }
    int n = snprintf(line, sizeof line, "%supstream-forward: %s: %.*s\n",
                     view.progress ? "\r\033[K" : "", names[level], MESSAGE_MAX, message);
    put_message(line, (size_t)n);
}

void report_start(int32_t level, bool progress)
{
    view.level = level;
    view.progress = progress;
    view.started_at = clock_ms();
}

void report_log(int32_t level, const char *message, void *ctx)
{
    (void)ctx;
    if (view.level > UPSTREAM_LOG_WARN || !said_lately(message)) {
        print(level, message);
    }
}

void report(int32_t level, const char *format, ...)
{
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    print(level, message);
}

void report_counts(char *out, size_t cap, const counts *c)
{
    size_t at = 0;
    const struct {
        bool shown;
        uint64_t count;
        const char *word;
    } parts[] = {
        {true, c->read, "read"},
        {c->acks || !c->no_acks, c->delivered, "delivered"},
        {c->no_acks, c->sent, "sent, not acknowledged"},
        {true, c->lost, "lost"},
        {c->may_be_there > 0, c->may_be_there, "may have arrived"},
        {c->not_sent > 0, c->not_sent, "not sent"},
    };

    out[0] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof *parts && at < cap; i++) {
        if (parts[i].shown) {
            at += (size_t)snprintf(out + at, cap - at, "%s%" PRIu64 " %s", at > 0 ? ", " : "",
                                   parts[i].count, parts[i].word);
        }
    }
}

void report_progress(const counts *c)
{
    char text[256], line[320];
    int64_t now = view.progress ? clock_ms() : 0;
    if (!view.progress || now - view.drawn_at < 100) {
        return;
    }
    view.drawn_at = now;
    double seconds = (double)(now - view.started_at) / 1000;
    double rate = seconds > 0 ? (double)(c->delivered + c->sent) / seconds : 0;
    report_counts(text, sizeof text, c);
    int n = snprintf(line, sizeof line, "\r\033[K%s, %.0f/s", text, rate);
    put_message(line, (size_t)n);
}

void report_end(void)
{
    if (view.progress && view.drawn_at != 0) {
        put_message("\r\033[K", 4);
    }
}

bool report_output(const char *text, size_t len)
{
    int64_t stopped_at = -1;
    while (len > 0) {
        if (stopped_at < 0 && stop_asked() != STOP_NOT) {
            stopped_at = clock_ms();
        }
        if (!writable(STDOUT_FILENO, 100)) {
            if (stopped_at >= 0 && clock_ms() - stopped_at > STDOUT_WAIT_MS) {
                errno = ETIMEDOUT;
                return false;
            }
            continue;
        }
        /* At most PIPE_BUF: a pipe with room takes that much without making us wait. */
        ssize_t n = write(STDOUT_FILENO, text, len < PIPE_BUF ? len : PIPE_BUF);
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return false;
        }
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}
