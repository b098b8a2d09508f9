/* The queue of a listening socket: a client may be connected, and done, before its server has
 * accepted it. */
#ifndef SUPPORT_BACKLOG_H
#define SUPPORT_BACKLOG_H

/*
 * Waits, at most ten seconds, until `listener` (-1: there is none) has nothing left to accept. A
 * server that accepts and counts under one lock has then counted every connection that a client has
 * made so far, to whoever takes that lock.
 */
void backlog_drained(int listener);

#endif
