/* The queue of a listening socket: a client may be connected, and done, before its server has
 * accepted it. */
#ifndef SUPPORT_BACKLOG_H
#define SUPPORT_BACKLOG_H

/*
 * Waits, at most ten seconds, until `listener` (-1: there is none) has nothing left to accept. If a
 * server accepts and counts with one lock held, then anyone who takes that lock afterwards sees
 * every connection counted that a client has made so far.
 */
void backlog_drained(int listener);

#endif
