/* See backlog.h. */
#define _GNU_SOURCE
#include "backlog.h"

#include <poll.h>
#include <unistd.h>

void backlog_drained(int listener)
{
    struct pollfd queue = {listener, POLLIN, 0};
    int turns;
    for (turns = 0; turns < 10000 && poll(&queue, 1, 0) != 0 && (queue.revents & POLLIN) != 0;
         turns++) {
        usleep(1000);
    }
}
