/* See netns.h. nft drops packets when they come in. If it dropped them on their way out, the sender
 * would see some as errors. */
#define _GNU_SOURCE
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"

static const char *nft; /* its path */
static char resolver_file[64];

static void need(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        abort();
    }
}

static int forbidden(const char *what)
{
    fprintf(stderr,
            "SKIPPED: %s: %s; the network rows of the fault matrix need namespaces of their own "
            "and nftables\n",
            what, strerror(errno));
    return 0;
}

static int write_file(const char *path, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int write_file(const char *path, const char *format, ...)
{
    char text[256];
    va_list arguments;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), length, written;
    if (fd < 0) {
        return 0;
    }
    va_start(arguments, format);
    length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    written = (int)write(fd, text, (size_t)length);
    close(fd);
    return written == length;
}

static int move(void)
{
    unsigned user = (unsigned)getuid(), group = (unsigned)getgid();
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) == 0) {
        return 1; /* root may */
    }
    return unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) == 0 &&
           write_file("/proc/self/setgroups", "deny") &&
           write_file("/proc/self/uid_map", "0 %u 1", user) &&
           write_file("/proc/self/gid_map", "0 %u 1", group);
}

static int loopback_up(void)
{
    struct ifreq request;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), up;
    memset(&request, 0, sizeof(request));
    strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return up;
}

/* Administrators' tools are not in everyone's PATH. */
static int find_nft(void)
{
    static const char *const places[] = {"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft",
                                         "/usr/local/sbin/nft"};
    size_t i;
    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (access(places[i], X_OK) == 0) {
            nft = places[i];
            return 1;
        }
    }
    return 0;
}

static int run_nft(const char *command)
{
    const char *arguments[] = {nft, command, NULL};
    return process_run(arguments, NULL) == 0;
}

/* Puts a file of the test's own in the place of one of the machine's, for this process alone. */
static int replace_file(const char *file, const char *place)
{
    char target[4096];
    return realpath(place, target) != NULL && mount(file, target, "", MS_BIND, "") == 0;
}

static int choose_resolver(void)
{
    /* in a private file system, which ends with the namespace */
    static char folder[] = "/tmp/upstream-resolver.XXXXXX";
    char switch_file[64];
    int done;
    if (mkdtemp(folder) == NULL || mount("none", folder, "tmpfs", 0, "") != 0) {
        rmdir(folder);
        return 0;
    }
    snprintf(resolver_file, sizeof(resolver_file), "%s/resolv.conf", folder);
    snprintf(switch_file, sizeof(switch_file), "%s/nsswitch.conf", folder);
    netns_resolver_options("timeout:5 attempts:2");
    done = write_file(switch_file, "hosts: files dns\n") &&
           replace_file(resolver_file, "/etc/resolv.conf") &&
           replace_file(switch_file, "/etc/nsswitch.conf");
    /* A caching daemon of the machine's would answer in the name server's place. */
    if (access("/run/nscd", F_OK) == 0) {
        done = done && mount("none", "/run/nscd", "tmpfs", 0, "") == 0;
    }
    return done;
}

static void remove_folder(void)
{
    char *end = strrchr(resolver_file, '/');
    *end = '\0';
    umount2(resolver_file, MNT_DETACH);
    rmdir(resolver_file);
}

int netns_enter(void)
{
    if (!find_nft()) {
        return forbidden("nft");
    }
    if (!move()) {
        return forbidden("unshare");
    }
    if (mount("none", "/", "", MS_REC | MS_PRIVATE, "") != 0) {
        return forbidden("mount");
    }
    if (!loopback_up()) {
        return forbidden("loopback");
    }
    if (!run_nft("add table ip fault; "
                 "add counter ip fault dropped; "
                 "add set ip fault from { type ipv4_addr; }; "
                 "add set ip fault to { type ipv4_addr; }; "
                 "add set ip fault unreachable { type ipv4_addr; }; "
                 "add chain ip fault arriving { type filter hook input priority 0; }; "
                 "add rule ip fault arriving ip saddr @from counter name dropped drop; "
                 "add rule ip fault arriving ip daddr @to counter name dropped drop; add rule ip "
                 "fault arriving ip daddr @unreachable reject with icmp type host-unreachable")) {
        errno = EPERM;
        return forbidden("nft");
    }
    if (!choose_resolver()) {
        return forbidden("resolver");
    }
    atexit(remove_folder);
    return 1;
}

void netns_drop(const char *address)
{
    char command[128];
    snprintf(command, sizeof(command),
             "add element ip fault from { %s }; add element ip fault to { %s }", address, address);
    need(run_nft(command), "nft");
}

void netns_drop_answers(const char *address)
{
    char command[128];
    snprintf(command, sizeof(command), "add element ip fault from { %s }", address);
    need(run_nft(command), "nft");
}

void netns_reject(const char *address)
{
    char command[128];
    snprintf(command, sizeof(command), "add element ip fault unreachable { %s }", address);
    need(run_nft(command), "nft");
}

void netns_ports(unsigned low, unsigned high)
{
    need(write_file("/proc/sys/net/ipv4/ip_local_port_range", "%u %u\n", low, high),
         "ip_local_port_range");
}

void netns_heal(void)
{
    need(run_nft("flush set ip fault from; flush set ip fault to; flush set ip fault unreachable"),
         "nft");
}

size_t netns_dropped(void)
{
    const char *arguments[] = {nft, "list counter ip fault dropped", NULL};
    struct process process = process_start(arguments, NULL);
    char line[256];
    size_t packets = 0;
    while (process_read_line(&process, line, sizeof(line))) {
        const char *found = strstr(line, "packets ");
        if (found != NULL) {
            packets = strtoul(found + strlen("packets "), NULL, 10);
        }
    }
    need(process_finish(&process) == 0, "nft");
    return packets;
}

void netns_resolver_options(const char *options)
{
    need(write_file(resolver_file, "nameserver 127.0.0.53\nsearch invalid\noptions %s\n", options),
         "resolv.conf");
}
