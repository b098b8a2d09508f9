#include <upstream/upstream.h>
