/* test_scarcity.c - one processor for any number of threads, and a model whose pages are taken from memory while it
 * works: slower, but the same text. */
#define _GNU_SOURCE
#include "check.h"
#include "fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

/* Leaves this process one of its processors. */
static void keep_one_processor(void) {
    cpu_set_t set;
    if (!CHECK(sched_getaffinity(0, sizeof set, &set) == 0)) return;
    int first = 0;
    while (!CPU_ISSET(first, &set)) first++;
    CPU_ZERO(&set);
    CPU_SET(first, &set);
    CHECK(sched_setaffinity(0, sizeof set, &set) == 0);
}

static void test_threads(const fixture *f, const petar_describe_params *params, const char *expected) {
    const int threads[] = {0, 1, 2, 7, 16};
    for (int i = 0; i < 5; i++) {
        petar_session *session = fixture_session(f, threads[i]);
        char *text = fixture_describe(session, f, params);
        CHECK(strcmp(text, expected) == 0);
        free(text);
        petar_session_free(session);
    }
}

typedef struct model_file {
    char path[4096];
    int descriptor;
    int mappings, dropped; /* mappings dropped without an error, out of all */
} model_file;

/* Takes the model's pages from the process and, as far as the system lets us, from its cache of files. */
static void drop_pages(model_file *model) {
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!CHECK(maps != NULL)) return;
    char line[8192];
    while (fgets(line, sizeof line, maps)) {
        size_t start, end;
        if (strstr(line, model->path) == NULL || sscanf(line, "%zx-%zx", &start, &end) != 2) continue;
        model->mappings++;
        model->dropped += madvise((void *)start, end - start, MADV_DONTNEED) == 0;
    }
    fclose(maps);
    CHECK(posix_fadvise(model->descriptor, 0, 0, POSIX_FADV_DONTNEED) == 0);
}

static void drop_on_token(void *model, const char *text, size_t length, int32_t token) {
    (void)text, (void)length, (void)token;
    drop_pages(model);
}

static void drop_on_progress(void *model, const char *stage, double fraction) {
    (void)stage, (void)fraction;
    drop_pages(model);
}

static void test_lost_pages(const fixture *f, petar_describe_params params, const char *expected) {
    model_file model = {.descriptor = open(fixture_setting("PETAR_TEST_MODEL"), O_RDONLY)};
    if (!CHECK(model.descriptor >= 0 && realpath(fixture_setting("PETAR_TEST_MODEL"), model.path) != NULL)) return;
    params.on_token = drop_on_token;
    params.on_progress = drop_on_progress;
    params.user_data = &model;
    petar_session *session = fixture_session(f, 2);
    char *text = fixture_describe(session, f, &params);
    CHECK(strcmp(text, expected) == 0);
    CHECK(model.mappings >= params.max_tokens && model.dropped == model.mappings);
    free(text);
    petar_session_free(session);
    close(model.descriptor);
}

int main(void) {
    fixture f = fixture_open();
    petar_describe_params params = fixture_describe_params();
    petar_session *session = fixture_session(&f, 2);
    char *expected = fixture_describe(session, &f, &params);
    petar_session_free(session);
    keep_one_processor();
    test_threads(&f, &params, expected);
    test_lost_pages(&f, params, expected);
    free(expected);
    fixture_close(&f);
    return check_summary("test_scarcity");
}
