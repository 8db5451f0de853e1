/* The message that petar_last_message returns: thread-local and of fixed size, so that it needs no destructor and
 * nothing of it outlives the library in the host. Internal to libpetar. */
#ifndef CPETAR_MESSAGE_H
#define CPETAR_MESSAGE_H

#include <stddef.h>

/* Keeps the first 1023 bytes of text, cut at a UTF-8 character. */
void cpetar_set_message(const char *text, size_t length);

#endif
