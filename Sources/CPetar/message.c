#include "include/message.h"

#include <string.h>

#include "../../Include/petar.h"

static _Thread_local char message[1024];

void cpetar_set_message(const char *text, size_t length) {
    if (length > sizeof message - 1) {
        length = sizeof message - 1;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) --length;
    }
    memcpy(message, text, length);
    message[length] = '\0';
}

const char *petar_last_message(void) { return message; }
