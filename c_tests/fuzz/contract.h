/* What both fuzzers check of the library, whatever the input is; a breach ends the process, which
 * is how libFuzzer learns of a finding. */
#ifndef FUZZ_CONTRACT_H
#define FUZZ_CONTRACT_H

#include <stddef.h>
#include <stdint.h>

#include <upstream/upstream.h>

/* Ends the process with these words on stderr. */
_Noreturn void contract_breach(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line of 1 to 2,000 bytes of UTF-8, without control characters; `place` says whose it is. It
 * must not hold contract_secret, unless contract_secret_allowed is set. */
void contract_message(const char *message, const char *place);
extern const char contract_secret[];
extern int contract_secret_allowed;

/* The callback of upstream_options_set_logger(): the same for each line of the log. */
void contract_log(int32_t level, const char *message, void *ctx);

/* `status` is one that the header names, and no defect of the library. If it is an error, `err` has
 * words for it and carries the same status. Frees `err`. */
void contract_status(upstream_status_t status, upstream_error_t *err, const char *place);

/* The same for an error that is borrowed. */
void contract_error(upstream_status_t status, const upstream_error_t *err, const char *place);

/* At the end of each input: nothing was printed, and the process never held more than this. */
void contract_end(size_t memory_limit_mb);

/* What libFuzzer calls, and replay.c too. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
