#include "contract.h"

#include "../support/plain_text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

const char contract_secret[] = "Zq9-secret-Zq9";
int contract_secret_allowed;

static atomic_int printed;

_Noreturn void contract_breach(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("contract broken: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

/* With FUZZ_VERBOSE in the environment, what the library says: to understand a finding. */
static void show(const char *place, const char *message)
{
    if (getenv("FUZZ_VERBOSE") != NULL) {
        fprintf(stderr, "%s: %s\n", place, message);
    }
}

/* The linker sends the library's calls here (--wrap, see CMakeLists.txt). Only a panic of Rust
 * raises an exception: the library would catch it, also on a thread of its own, where no status
 * tells of it. */
_Noreturn void __wrap__Unwind_RaiseException(void *exception);
_Noreturn void __wrap__Unwind_RaiseException(void *exception)
{
    (void)exception;
    contract_breach("the library panicked");
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    if (fd == STDOUT_FILENO || fd == STDERR_FILENO) {
        atomic_store(&printed, 1);
    }
    return __real_write(fd, data, size);
}

void contract_message(const char *message, const char *place)
{
    const char *flaw = message == NULL ? "" : plain_text_flaw(message);
    if (flaw != NULL) {
        contract_breach("%s: byte 0x%02x at %td of: %.2100s", place, (unsigned char)*flaw,
                        message == NULL ? 0 : flaw - message, message == NULL ? "" : message);
    }
    if (!contract_secret_allowed && strstr(message, contract_secret) != NULL) {
        contract_breach("%s: shows a secret: %s", place, message);
    }
}

void contract_log(int32_t level, const char *message, void *ctx)
{
    (void)ctx;
    if (level < UPSTREAM_LOG_ERROR || level > UPSTREAM_LOG_TRACE) {
        contract_breach("a line of the log has level %d", level);
    }
    contract_message(message, "a line of the log");
    show("log", message);
}

void contract_error(upstream_status_t status, const upstream_error_t *err, const char *place)
{
    const char *node;
    if (status == UPSTREAM_ERR_PANIC ||
        strcmp(upstream_status_name(status), "UPSTREAM_UNKNOWN") == 0) {
        contract_breach("%s: status %d: %s", place, status, err ? upstream_error_message(err) : "");
    }
    if (status >= 0) {
        return;
    }
    if (err == NULL) {
        contract_breach("%s: %s without an error", place, upstream_status_name(status));
    }
    if (upstream_error_status(err) != status) {
        contract_breach("%s: %s, but its error has %s", place, upstream_status_name(status),
                        upstream_status_name(upstream_error_status(err)));
    }
    contract_message(upstream_error_message(err), place);
    show(place, upstream_error_message(err));
    node = upstream_error_node(err);
    if (node != NULL && strlen(node) == 0) {
        contract_breach("%s: a node without a name", place);
    }
    (void)upstream_error_errno(err);
    (void)upstream_error_line(err);
    (void)upstream_error_may_have_arrived(err);
}

void contract_status(upstream_status_t status, upstream_error_t *err, const char *place)
{
    contract_error(status, err, place);
    if (status == UPSTREAM_OK && err != NULL) {
        contract_breach("%s: success with an error: %s", place, upstream_error_message(err));
    }
    upstream_error_free(err);
}

void contract_end(size_t memory_limit_mb)
{
    struct rusage used;
    if (atomic_load(&printed)) {
        contract_breach("the library printed something");
    }
    getrusage(RUSAGE_SELF, &used);
    if (memory_limit_mb > 0 && (size_t)used.ru_maxrss / 1024 > memory_limit_mb) {
        contract_breach("%ld MiB of memory were in use", used.ru_maxrss / 1024);
    }
}
