/*
 * The command line. Every value is checked in full here; a wrong one ends the program before a line
 * is read.
 */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_line[] =
    "usage: upstream-forward -u FILE -t TAG [OPTION]... [LOGFILE]...\n";

static const char help[] =
    "\n"
    "Sends each line of each LOGFILE (of standard input without one, or for -) as a record\n"
    "{\"log\": line} to the nodes of an upstream file, in turn, by the Forward protocol.\n"
    "\n"
    "  -u, --upstream FILE      the upstream file: [UPSTREAM] and its [NODE]s\n"
    "  -t, --tag TAG            tag of the records; a node's own key `tag` goes before it\n"
    "  -b, --batch N            records in one message (500)\n"
    "      --flush SECONDS      send a batch that is not full after this time (1)\n"
    "      --field KEY=VALUE    put this into every record as well; may be repeated\n"
    "      --packed             PackedForward messages instead of Forward\n"
    "      --no-acks            do not ask the servers to acknowledge what they got, whatever\n"
    "                           the file says: for servers that cannot. Records then count as\n"
    "                           \"sent, not acknowledged\": the last ones before a server or a\n"
    "                           connection fails may be lost without a trace\n"
    "  -r, --rate N             send at most N lines a second\n"
    "      --retry-for SECONDS  try a batch that no node took again for this time (10)\n"
    "      --retries N          try it again at most N times (no limit but the time)\n"
    "      --grace SECONDS      after a signal, send what was taken for this time at most (10)\n"
    "  -o, --option KEY=VALUE   a default for every node, under the file's own words,\n"
    "                           as -o net.connect_timeout=2s; may be repeated\n"
    "  -v, --verbose            log more; twice and thrice for still more\n"
    "  -q, --quiet              errors and the last line only\n"
    "  -h, --help               this text\n"
    "      --version            the version of the library\n"
    "\n"
    "A record is delivered when a server has acknowledged it. Acks are asked for unless the\n"
    "upstream file says `require_ack_response off`, or -o or --no-acks do.\n"
    "\n"
    "Each line read is counted once in the last line of the output:\n"
    "  delivered                a server acknowledged it\n"
    "  sent, not acknowledged   given to a server from which no ack is asked\n"
    "  lost                     no server took it\n"
    "  may have arrived         given up, though a server that did not answer may have it; with\n"
    "                           `deliver.resend off` it is not sent a second time\n"
    "  not sent                 taken from the input when the program was stopped\n"
    "\n"
    "Exit status: 0 if the input was read to its end and all of it was delivered (or sent, where\n"
    "no acks are asked for); 1 if not, or if the output could not be written; 2 for a wrong use\n"
    "or a wrong upstream file. SIGINT, SIGTERM and SIGHUP end the reading: what was taken is sent\n"
    "or counted, the counts are printed, and unless that was all of the input the program dies of\n"
    "the signal (a shell shows 128 + its number). A second signal ends the sending too, a third\n"
    "ends the program at once.\n";

enum {
    OPT_FIELD = 256,
    OPT_PACKED,
    OPT_NO_ACKS,
    OPT_RETRIES,
    OPT_RETRY_FOR,
    OPT_GRACE,
    OPT_FLUSH,
    OPT_VERSION
};

static const struct option long_options[] = {
    {"upstream", required_argument, NULL, 'u'},
    {"tag", required_argument, NULL, 't'},
    {"batch", required_argument, NULL, 'b'},
    {"flush", required_argument, NULL, OPT_FLUSH},
    {"field", required_argument, NULL, OPT_FIELD},
    {"packed", no_argument, NULL, OPT_PACKED},
    {"no-acks", no_argument, NULL, OPT_NO_ACKS},
    {"rate", required_argument, NULL, 'r'},
    {"retry-for", required_argument, NULL, OPT_RETRY_FOR},
    {"grace", required_argument, NULL, OPT_GRACE},
    {"retries", required_argument, NULL, OPT_RETRIES},
    {"option", required_argument, NULL, 'o'},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static bool wrong(const char *option, const char *value, const char *mend)
{
    fprintf(stderr, "upstream-forward: %s \"%s\": %s\n", option, value, mend);
    return false;
}

static bool read_number(const char *option, const char *text, double least, double most,
                        double *out)
{
    char *end;
    double n = strtod(text, &end);
    /* no sign, hex, nan, 1e3 */
    bool plain = text[0] != '\0' && strspn(text, "0123456789.") == strlen(text);
    if (!plain || *end != '\0' || n < least || n > most) {
        fprintf(stderr, "upstream-forward: %s \"%s\": give a number from %g to %.0f\n", option,
                text, least, most);
        return false;
    }
    *out = n;
    return true;
}

static bool read_count(const char *option, const char *text, double least, double most,
                       int64_t *out)
{
    double n;
    if (strchr(text, '.') != NULL) {
        return wrong(option, text, "give a whole number");
    }
    if (!read_number(option, text, least, most, &n)) {
        return false;
    }
    *out = (int64_t)n;
    return true;
}

static bool read_seconds(const char *option, const char *text, int64_t *out_ms)
{
    double n;
    if (!read_number(option, text, 0, 86400, &n)) {
        return false;
    }
    *out_ms = (int64_t)(n * 1000);
    return true;
}

static bool pack_text(msgpack_packer *pk, const char *text, size_t len)
{
    return msgpack_pack_str(pk, len) == 0 && msgpack_pack_str_body(pk, text, len) == 0;
}

/* Whether a --field of this key was given before: a map must not hold a key twice. */
static bool has_field(const settings *s, const char *key, size_t len)
{
    msgpack_unpacked value;
    size_t at = 0;
    bool is_key = true, found = false;

    msgpack_unpacked_init(&value);
    while (!found && msgpack_unpack_next(&value, s->fields.data, s->fields.size, &at) ==
                         MSGPACK_UNPACK_SUCCESS) {
        found = is_key && value.data.via.str.size == len &&
                memcmp(value.data.via.str.ptr, key, len) == 0;
        is_key = !is_key;
    }
    msgpack_unpacked_destroy(&value);
    return found;
}

static bool read_field(settings *s, const char *text)
{
    const char *equals = strchr(text, '=');
    msgpack_packer pk;

    if (equals == NULL || equals == text) {
        return wrong("--field", text, "give KEY=VALUE");
    }
    size_t key_len = (size_t)(equals - text);
    if (key_len == 3 && memcmp(text, "log", 3) == 0) {
        return wrong("--field", text, "the key log is the line itself; take another key");
    }
    if (has_field(s, text, key_len)) {
        return wrong("--field", text, "this key was given before");
    }
    msgpack_packer_init(&pk, &s->fields, msgpack_sbuffer_write);
    if (!pack_text(&pk, text, key_len) || !pack_text(&pk, equals + 1, strlen(equals + 1))) {
        return wrong("--field", text, "no memory");
    }
    s->field_count++;
    return true;
}

static bool read_option(settings *s, const char *text)
{
    const char *equals = strchr(text, '=');
    upstream_error_t *err = NULL;

    if (equals == NULL || equals == text) {
        return wrong("--option", text, "give KEY=VALUE");
    }
    char *key = strndup(text, (size_t)(equals - text));
    if (key == NULL) {
        return wrong("--option", text, "no memory");
    }
    bool good = upstream_options_set(s->options, key, equals + 1, &err) == UPSTREAM_OK;
    if (!good) {
        wrong("--option", text, err == NULL ? "refused" : upstream_error_message(err));
        upstream_error_free(err);
    }
    free(key);
    return good;
}

static bool read_one(settings *s, int opt)
{
    int64_t n;
    switch (opt) {
    case 'u':
        s->upstream_file = optarg;
        return true;
    case 't':
        s->tag = optarg;
        return true;
    case 'b':
        if (!read_count("--batch", optarg, 1, 1000000, &n)) {
            return false;
        }
        s->batch_records = (size_t)n;
        return true;
    case 'r':
        return read_number("--rate", optarg, 0.001, 1e9, &s->rate);
    case 'o':
        return read_option(s, optarg);
    case 'v':
        s->log_level = s->log_level < UPSTREAM_LOG_TRACE ? s->log_level + 1 : UPSTREAM_LOG_TRACE;
        return true;
    case 'q':
        s->quiet = true;
        s->log_level = UPSTREAM_LOG_ERROR;
        return true;
    case OPT_FLUSH:
        return read_seconds("--flush", optarg, &s->flush_ms);
    case OPT_FIELD:
        return read_field(s, optarg);
    case OPT_PACKED:
        s->packed = true;
        return true;
    case OPT_NO_ACKS:
        s->no_acks = true;
        return true;
    case OPT_GRACE:
        return read_seconds("--grace", optarg, &s->grace_ms);
    case OPT_RETRY_FOR:
        return read_seconds("--retry-for", optarg, &s->retry_for_ms);
    case OPT_RETRIES:
        return read_count("--retries", optarg, 0, 1000000, &s->retries);
    default: /* getopt has said what is wrong */
        return false;
    }
}

static int misuse(void)
{
    fprintf(stderr, "%sTry upstream-forward --help.\n", usage_line);
    return EXIT_USAGE;
}

static bool complete(const settings *s)
{
    if (s->upstream_file == NULL || s->tag == NULL) {
        fprintf(stderr, "upstream-forward: give %s\n",
                s->upstream_file == NULL ? "the upstream file with -u FILE" : "a tag with -t TAG");
        return false;
    }
    return s->tag[0] != '\0' || wrong("--tag", "", "give a tag of at least one character");
}

/* What the user asked to see. A reader that has seen enough of it is no mistake, and nobody is
 * told. */
static int answer(const char *first, const char *second)
{
    if (report_output(first, strlen(first)) && report_output(second, strlen(second))) {
        return EXIT_ALL;
    }
    if (errno != EPIPE) {
        fprintf(stderr, "upstream-forward: standard output: %s\n", strerror(errno));
    }
    return EXIT_NOT_ALL;
}

int settings_read(settings *s, int argc, char **argv)
{
    int opt;

    memset(s, 0, sizeof *s);
    s->batch_records = 500;
    s->flush_ms = 1000;
    s->retry_for_ms = 10000;
    s->grace_ms = 10000;
    s->retries = -1;
    s->log_level = UPSTREAM_LOG_WARN;
    msgpack_sbuffer_init(&s->fields);
    if (upstream_options_create(&s->options) != UPSTREAM_OK ||
        forward_declare_keys(s->options) != UPSTREAM_OK) {
        fprintf(stderr, "upstream-forward: no memory\n");
        return EXIT_NOT_ALL;
    }
    /* Under the file's own words, and under -o. */
    if (upstream_options_set(s->options, "require_ack_response", "on", NULL) != UPSTREAM_OK) {
        return EXIT_NOT_ALL;
    }
    while ((opt = getopt_long(argc, argv, "u:t:b:r:o:vqh", long_options, NULL)) != -1) {
        if (opt == 'h') {
            return answer(usage_line, help);
        }
        if (opt == OPT_VERSION) {
            char version[64];
            snprintf(version, sizeof version, "%s\n", upstream_version());
            return answer("upstream-forward ", version);
        }
        if (!read_one(s, opt)) {
            return misuse();
        }
    }
    if (!complete(s)) {
        return misuse();
    }
    s->file_count = argc - optind;
    s->files = s->file_count > 0 ? argv + optind : NULL;
    return -1;
}

void settings_free(settings *s)
{
    msgpack_sbuffer_destroy(&s->fields);
    upstream_options_destroy(s->options);
}
