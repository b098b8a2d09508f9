/* What every part of the stand-in agent uses. Never used outside the tests. */
#ifndef GUEST_BASE_H
#define GUEST_BASE_H

#include "guest_agent.h"

/* Ends the test program if it does not hold. */
void guest_need(int holds, const char *what);

/* From now on time() says that so many seconds more have passed, here and in the plugin. */
void guest_time_passes(int seconds);

int guest_warnings(void); /* log lines of level WARN and worse, since the last guest_start() */
void guest_forget_warnings(void);

#endif
