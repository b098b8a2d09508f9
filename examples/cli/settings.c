/*
 * The command line. Every value is checked here, so that a wrong one ends the program before it
 * reads any input.
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
    "Sends each line of each LOGFILE as a record {\"log\": line} to the nodes of an\n"
    "upstream file, in turn, by the Forward protocol. Without a LOGFILE, or for -,\n"
    "it reads standard input. Defaults stand in parentheses.\n"
    "\n"
    "  -u, --upstream FILE      the upstream file: [UPSTREAM] and its [NODE]s\n"
    "  -t, --tag TAG            tag of the records; a node's key `tag` overrides it\n"
    "  -b, --batch N            records in one message (500)\n"
    "      --flush SECONDS      send a batch that is not full after this time (1)\n"
    "      --field KEY=VALUE    add this to every record; may be repeated\n"
    "      --packed             send PackedForward messages instead of Forward\n"
    "      --no-acks            never ask servers for acks, whatever the upstream\n"
    "                           file says: for servers that send none. Records then\n"
    "                           count as \"sent, not acknowledged\": if a server or a\n"
    "                           connection fails, the last ones may be lost without\n"
    "                           a trace\n"
    "  -r, --rate N             send at most N lines a second\n"
    "      --retry-for SECONDS  retry a batch that no node took for this long (10)\n"
    "      --retries N          retry a batch at most N times (no such limit)\n"
    "      --grace SECONDS      after a signal, send for at most this long (10)\n"
    "  -o, --option KEY=VALUE   a default for every node, for example\n"
    "                           -o net.connect_timeout=2s; the upstream file\n"
    "                           overrides it; may be repeated\n"
    "  -v, --verbose            log more; two or three times for still more\n"
    "  -q, --quiet              print only errors and the last line\n"
    "  -h, --help               print this text\n"
    "      --version            print the version of the library\n"
    "\n"
    "A record is delivered when a server has acknowledged it. Servers are asked for\n"
    "acks unless the upstream file or -o sets `require_ack_response` to off, or\n"
    "--no-acks is given.\n"
    "\n"
    "The last line of the output counts each line of the input once:\n"
    "  delivered                a server acknowledged it\n"
    "  sent, not acknowledged   written to a server that was not asked for an ack\n"
    "  lost                     no server took it\n"
    "  may have arrived         given up, but a server that did not answer may have\n"
    "                           it; with `deliver.resend off` it is not sent twice\n"
    "  not sent                 read, but the program was stopped before it sent it\n"
    "\n"
    "Exit status: 0 if the input was read to its end and all of it was delivered\n"
    "(without acks: sent); 1 if not, or if the output could not be written; 2 if the\n"
    "command line or the upstream file is wrong.\n"
    "\n"
    "Signals: the first SIGINT, SIGTERM or SIGHUP ends the reading; what was read is\n"
    "still sent. After --grace seconds, or at the second signal, the sending ends\n"
    "too. The counts are printed in both cases. If not all of the input was\n"
    "delivered, the program then dies of the signal (a shell shows 128 + its\n"
    "number). The third signal ends the program at once.\n";

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

static bool wrong(const char *option, const char *value, const char *fix)
{
    fprintf(stderr, "upstream-forward: %s \"%s\": %s\n", option, value, fix);
    return false;
}

static bool read_number(const char *option, const char *text, double least, double most,
                        double *out)
{
    char *end;
    double n = strtod(text, &end);
    /* strtod() also takes signs, hexadecimal, "nan" and 1e3; this program does not. */
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

/* True if --field was given for this key before: a map must not hold a key twice. */
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
    default: /* getopt_long() has printed what is wrong */
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

/* Prints what the user asked for. EPIPE is not reported: `upstream-forward --help | head -1` is no
 * mistake. */
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
    /* Only a default: the upstream file and -o override it. */
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
