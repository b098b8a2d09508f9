/*
 * Reads a file, a pipe or a terminal line by line. A line may hold any bytes. It is never cut: for
 * a line over LINE_MAX_BYTES the caller gets LINES_TOO_LONG.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE ((size_t)64 * 1024)

bool lines_open(lines *in, const char *name)
{
    memset(in, 0, sizeof *in);
    bool standard = strcmp(name, "-") == 0;
    in->name = standard ? "standard input" : name;
    /* Without O_NONBLOCK, open() of a pipe waits for its writer, and no signal ends that wait. */
    in->fd = standard ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat about;
    /* Files that the kernel makes up (/proc) say that their size is 0. */
    in->regular =
        in->fd >= 0 && fstat(in->fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0;
    return in->fd >= 0;
}

bool lines_inside(const lines *in)
{
    return in->skipping || in->len > in->start;
}

bool lines_at_end(const lines *in)
{
    struct pollfd p = {in->fd, POLLIN, 0};
    struct stat about;
    if (in->regular) {
        return fstat(in->fd, &about) == 0 && lseek(in->fd, 0, SEEK_CUR) >= about.st_size;
    }
    return poll(&p, 1, 0) == 1 && p.revents == POLLHUP;
}

bool lines_truncated(const lines *in)
{
    struct stat about;
    off_t at = in->regular ? lseek(in->fd, 0, SEEK_CUR) : -1;
    return at >= 0 && fstat(in->fd, &about) == 0 && about.st_size < at;
}

void lines_close(lines *in)
{
    free(in->data);
    if (in->fd > STDIN_FILENO) {
        close(in->fd);
    }
}

/* Ends the line at data[end]. The next line begins at data[after]. */
static lines_result take(lines *in, size_t end, size_t after, const char **line, size_t *len)
{
    size_t start = in->start;
    in->start = in->seen = after;
    in->number++;
    if (end > start && in->data[end - 1] == '\r' && after > end) {
        end--;
    }
    if (in->skipping || end - start > LINE_MAX_BYTES) {
        in->skipping = false;
        return LINES_TOO_LONG;
    }
    *line = in->data + start;
    *len = end - start;
    return LINES_LINE;
}

lines_result lines_next(lines *in, const char **line, size_t *len)
{
    const char *newline =
        in->seen < in->len ? memchr(in->data + in->seen, '\n', in->len - in->seen) : NULL;
    if (newline != NULL) {
        size_t end = (size_t)(newline - in->data);
        return take(in, end, end + 1, line, len);
    }
    in->seen = in->len;
    if (in->ended) {
        return in->len > in->start || in->skipping ? take(in, in->len, in->len, line, len)
                                                   : LINES_END;
    }
    /* One more byte: the CR of a line that has exactly the limit. */
    if (in->skipping || in->len - in->start > LINE_MAX_BYTES + 1) {
        in->skipping = true;
        in->start = in->len;
    }
    return LINES_NEED;
}

/* Moves the line that is not complete to the front, and makes room for one read() after it. */
static bool make_room(lines *in)
{
    if (in->start > 0) {
        memmove(in->data, in->data + in->start, in->len - in->start);
        in->len -= in->start;
        in->seen -= in->start;
        in->start = 0;
    }
    if (in->cap - in->len >= READ_SIZE) {
        return true;
    }
    size_t cap = in->cap == 0 ? 2 * READ_SIZE : 2 * in->cap;
    char *data = realloc(in->data, cap);
    if (data == NULL) {
        return false;
    }
    in->data = data;
    in->cap = cap;
    return true;
}

bool lines_fill(lines *in)
{
    if (!make_room(in)) {
        errno = ENOMEM;
        return false;
    }
    ssize_t got = read(in->fd, in->data + in->len, READ_SIZE);
    if (got < 0) {
        return errno == EINTR || errno == EAGAIN;
    }
    in->len += (size_t)got;
    in->ended = got == 0;
    return true;
}
