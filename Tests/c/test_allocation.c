/* test_allocation.c - decoding allocates no memory: neither the network's step nor the text, on no thread.
 *
 * malloc and its kin are replaced in this program, and so for the library too; they count between two tokens, the
 * largest or sampled. Pieces of text of at most 15 bytes, as nearly all are, are no allocation of their own either. */
#define _GNU_SOURCE
#include "check.h"
#include "fixture.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static atomic_int counting;
static atomic_size_t allocations;

static void note(void) {
    if (atomic_load(&counting)) atomic_fetch_add(&allocations, 1);
}

void *malloc(size_t size) {
    note();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    note();
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    note();
    return __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    note();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    note();
    *block = __libc_memalign(alignment, size);
    return *block == NULL ? ENOMEM : 0;
}

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    note();
    return (void *)syscall(SYS_mmap, address, length, protection, flags, file, offset);
}

/* ---- Counting while lesions are written ---- */

/* A stretch of decoding, in tokens of a lesion or in progress reports of a batch. */
typedef struct stretch {
    int from, to, now;
} stretch;

static void advance(stretch *s) {
    s->now++;
    atomic_store(&counting, s->now >= s->from && s->now < s->to);
}

static void on_token(void *user_data, const char *text, size_t length, int32_t token) {
    (void)text, (void)length, (void)token;
    advance(user_data);
}

/* In a batch there is a report for each lesion's step. */
static void on_progress(void *user_data, const char *stage, double fraction) {
    (void)fraction;
    if (strcmp(stage, "decode") == 0) advance(user_data);
}

static void on_any_progress(void *user_data, const char *stage, double fraction) {
    (void)user_data, (void)stage, (void)fraction;
}

static void on_finding(void *user_data, size_t index, petar_status status, const char *message,
                       petar_finding *finding) {
    (void)user_data, (void)index, (void)message;
    CHECK(status == PETAR_OK);
    petar_finding_free(finding);
}

static void run_in_turn(void *user_data, void *task, petar_task_fn run, size_t count) {
    (void)user_data;
    for (size_t i = 0; i < count; i++) run(task, i);
}

enum { LESIONS = 4 };

static void test_model(const char *name, int threads, petar_parallel_fn parallel, float temperature) {
    char path[4096];
    petar_model *model;
    snprintf(path, sizeof path, "%s/%s.petar", fixture_setting("PETAR_TEST_MODELS"), name);
    fixture_require(petar_model_open(path, NULL, &model), path);
    fixture f = fixture_open_with(model);
    petar_session_params session_params;
    petar_session_params_init(&session_params, sizeof session_params);
    session_params.threads = threads;
    session_params.parallel = parallel;
    petar_session *session;
    fixture_require(petar_session_create(model, &session_params, &session), "session");

    petar_describe_params params = fixture_describe_params();
    params.max_tokens = 48;
    params.temperature = temperature;
    params.top_p = 0.9f;
    stretch s = {8, 40, 0};
    params.on_token = on_token;
    params.on_progress = on_any_progress;
    params.user_data = &s;
    petar_finding *finding;
    atomic_store(&allocations, 0);
    CHECK_STATUS(petar_describe(session, &f.exam, &params, &finding), PETAR_OK);
    CHECK(s.now >= s.to && !atomic_load(&counting));
    if (!CHECK(atomic_load(&allocations) == 0)) {
        fprintf(stderr, "  %s, %d threads, temperature %g: %zu for a lesion\n", name, threads, temperature,
                atomic_load(&allocations));
    }
    petar_finding_free(finding);

    /* All lesions are side by side after a report of each, and none has left before ten steps of at most 8 tokens. */
    petar_exam exams[LESIONS];
    for (int i = 0; i < LESIONS; i++) {
        exams[i] = f.exam;
        exams[i].label = i;
    }
    s = (stretch){2 * LESIONS, 10 * LESIONS, 0};
    params.max_tokens = 100;
    params.on_token = NULL;
    params.on_progress = on_progress;
    petar_batch_params batch;
    petar_batch_params_init(&batch, sizeof batch);
    batch.on_finding = on_finding;
    atomic_store(&allocations, 0);
    CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &batch), PETAR_OK);
    CHECK(s.now >= s.to && !atomic_load(&counting));
    if (!CHECK(atomic_load(&allocations) == 0)) {
        fprintf(stderr, "  %s, %d threads, temperature %g: %zu for a batch\n", name, threads, temperature,
                atomic_load(&allocations));
    }
    petar_session_free(session);
    fixture_close(&f);
}

/* That the library's memory comes from here. */
static void test_counter(void) {
    atomic_store(&allocations, 0);
    atomic_store(&counting, 1);
    petar_model *model;
    petar_status status = petar_model_open(fixture_setting("PETAR_TEST_MODEL"), NULL, &model);
    atomic_store(&counting, 0);
    CHECK_STATUS(status, PETAR_OK);
    CHECK(atomic_load(&allocations) > 10);
    petar_model_free(model);
}

int main(void) {
    test_counter();
    test_model("phi3-two-f32", 2, NULL, 0);
    test_model("phi3-two-q8", 3, NULL, 0);
    test_model("phi3-two-q4", 2, NULL, 0);
    test_model("llama-shared-q8", 1, NULL, 0);
    test_model("small-views-q8", 2, run_in_turn, 0);
    test_model("phi3-two-q8", 2, NULL, 1.5f);
    test_model("small-views-q8", 1, NULL, 0.7f);
    return check_summary("test_allocation");
}
