/* check.h - counts checks, says which failed, and where. */
#ifndef CHECK_H
#define CHECK_H

#include <petar.h>

#include <stdio.h>
#include <string.h>

static int check_passed, check_failed;
/* Where failures go; NULL: standard error. */
static FILE *check_output;

static inline int check_note(int holds, const char *file, int line, const char *what, const char *detail) {
    if (holds) {
        check_passed++;
    } else {
        check_failed++;
        fprintf(check_output ? check_output : stderr, "%s:%d: failed: %s%s%s\n", file, line, what, *detail ? ": " : "",
                detail);
    }
    return holds;
}

#define CHECK_OLD_MESSAGE "/check.h: no such file"

/* Fails with a message of its own, so that the next failure's can be told from one that was there before. */
static inline void check_old_message(void) {
    petar_model *none;
    petar_model_open(CHECK_OLD_MESSAGE, NULL, &none);
}

static inline int check_has_message(void) {
    return *petar_last_message() != 0 && strstr(petar_last_message(), CHECK_OLD_MESSAGE) == NULL;
}

static inline int check_status(petar_status got, petar_status want, const char *file, int line, const char *what) {
    char detail[1400];
    snprintf(detail, sizeof detail, "got %s, want %s; message: %s", petar_status_name(got), petar_status_name(want),
             petar_last_message());
    return check_note(got == want && (got == PETAR_OK || check_has_message()), file, line, what, detail);
}

#define CHECK(condition) check_note(!!(condition), __FILE__, __LINE__, #condition, "")

/* The call returns this status and, if it is a failure, leaves a message. */
#define CHECK_STATUS(call, want) (check_old_message(), check_status((call), (want), __FILE__, __LINE__, #call))

/* The call fails, with a message, and not as a defect of the library. */
#define CHECK_FAILS(call)                                                                                              \
    do {                                                                                                               \
        check_old_message();                                                                                           \
        petar_status check_got = (call);                                                                               \
        check_note(check_got != PETAR_OK && check_got != PETAR_ERROR_INTERNAL && check_has_message(), __FILE__,        \
                   __LINE__, #call, petar_status_name(check_got));                                                     \
    } while (0)

static inline int check_summary(const char *name) {
    printf("%s: %d passed, %d failed\n", name, check_passed, check_failed);
    return check_failed != 0 || check_passed == 0;
}

#endif
