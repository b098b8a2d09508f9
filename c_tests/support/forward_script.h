/*
 * The script of the Forward server, played on one connection.
 */
#ifndef FORWARD_SCRIPT_H
#define FORWARD_SCRIPT_H

#include "forward_server_internal.h"

/* Plays the script on a connection. True if all went well until the client closed it; false once it
 * went wrong. */
bool forward_play(peer *p);

#endif
