/* One model and one exam, used by eight sessions on eight threads at once. `make test-threads` runs it under
 * ThreadSanitizer. */
#define _POSIX_C_SOURCE 200809L /* pthread_barrier_t */

#include "check.h"
#include "fixture.h"

#include <pthread.h>

enum { SESSIONS = 8, LESIONS = 2 };

typedef struct user {
    const fixture *f;
    int threads;
    pthread_barrier_t *start;
    char *alone;
    char *batch[LESIONS];
    petar_status cancelled;
} user;

static void on_finding(void *data, size_t index, petar_status status, const char *message, petar_finding *finding) {
    (void)message;
    if (status == PETAR_OK) ((user *)data)->batch[index] = fixture_text(finding);
}

static void cancel_at_prefill(void *session, const char *stage, double fraction) {
    (void)fraction;
    if (strcmp(stage, "prefill") == 0) petar_session_cancel(session);
}

/* Describes one lesion, is cancelled, describes two side by side. */
static void *use(void *data) {
    user *u = data;
    petar_session *session = fixture_session(u->f, u->threads);
    petar_describe_params params = fixture_describe_params();
    pthread_barrier_wait(u->start);
    u->alone = fixture_describe(session, u->f, &params);

    petar_finding *finding = NULL;
    params.on_progress = cancel_at_prefill;
    params.user_data = session;
    u->cancelled = petar_describe(session, &u->f->exam, &params, &finding);

    params = fixture_describe_params();
    petar_batch_params batch;
    petar_batch_params_init(&batch, sizeof batch);
    batch.on_finding = on_finding;
    batch.user_data = u;
    const petar_exam exams[LESIONS] = {u->f->exam, u->f->exam};
    petar_describe_batch(session, exams, LESIONS, &params, &batch);
    petar_session_free(session);
    return NULL;
}

int main(void) {
    fixture f = fixture_open();
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, SESSIONS);
    user users[SESSIONS];
    pthread_t threads[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) {
        users[i] = (user){.f = &f, .threads = 1 + i % 3, .start = &start};
        if (pthread_create(&threads[i], NULL, use, &users[i]) != 0) exit(2);
    }
    for (int i = 0; i < SESSIONS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < SESSIONS; i++) {
        CHECK(users[i].cancelled == PETAR_CANCELLED);
        CHECK(users[i].alone[0] != '\0' && strcmp(users[i].alone, users[0].alone) == 0);
        for (int k = 0; k < LESIONS; k++) {
            CHECK(users[i].batch[k] && strcmp(users[i].batch[k], users[0].alone) == 0);
            free(users[i].batch[k]);
        }
        if (i > 0) free(users[i].alone);
    }
    free(users[0].alone);
    pthread_barrier_destroy(&start);
    fixture_close(&f);
    return check_summary("test_threads");
}
