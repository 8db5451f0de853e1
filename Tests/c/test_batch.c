/* test_batch.c - petar_describe_batch: the texts of one-by-one runs, each lesion reported once, failures, refusals,
 * cancelling, lifetimes. */
#include "check.h"
#include "fixture.h"

#include <stdbool.h>

#define INVALID PETAR_ERROR_INVALID_ARGUMENT

/* ---- The lesions ---- */

enum { LESIONS = 7, BROKEN = 2 };

/* Each label and all of them together, with the CT continued in two ways. */
static void make_exams(const fixture *f, petar_exam *exams) {
    for (int i = 0; i < LESIONS; i++) {
        exams[i] = f->exam;
        exams[i].label = (i + 1) % 4;
        exams[i].ct_outside = i / 4;
    }
}

/* What is generated for a lesion. */
typedef struct writing {
    char text[1024];
    int32_t tokens[64];
    size_t count;
} writing;

static writing read_finding(const petar_finding *finding) {
    writing w;
    memset(&w, 0, sizeof w);
    size_t size = sizeof w.text;
    w.count = 64;
    CHECK_STATUS(petar_finding_text(finding, w.text, &size), PETAR_OK);
    CHECK_STATUS(petar_finding_tokens(finding, w.tokens, &w.count), PETAR_OK);
    return w;
}

static bool same(const writing *a, const writing *b) { return memcmp(a, b, sizeof *a) == 0; }

/* Sampled, so that the texts differ and end at different times. */
static petar_describe_params sampled(void) {
    petar_describe_params params = fixture_describe_params();
    params.max_tokens = 24;
    params.temperature = 2;
    params.seed = 5;
    return params;
}

static void describe_one_by_one(petar_session *session, const petar_exam *exams, writing *writings) {
    petar_describe_params params = sampled();
    for (int i = 0; i < LESIONS; i++) {
        petar_finding *finding;
        fixture_require(petar_describe(session, &exams[i], &params, &finding), "describe");
        writings[i] = read_finding(finding);
        petar_finding_free(finding);
    }
}

/* ---- What a batch reports ---- */

typedef struct report {
    int calls[LESIONS];
    petar_status status[LESIONS];
    char message[LESIONS][1024];
    petar_finding *finding[LESIONS];
    size_t total;
    bool well_formed; /* a finding or a message, never both or neither */
    petar_session *cancel; /* cancelled by the first finding */
} report;

static void on_finding(void *user_data, size_t index, petar_status status, const char *message,
                       petar_finding *finding) {
    report *r = user_data;
    r->total++;
    r->well_formed = r->well_formed && index < LESIONS && message != NULL &&
                     (status == PETAR_OK ? finding != NULL && *message == 0 : finding == NULL && *message != 0);
    if (index < LESIONS) {
        r->calls[index]++;
        r->status[index] = status;
        snprintf(r->message[index], sizeof r->message[index], "%s", message);
        petar_finding_free(r->finding[index]);
        r->finding[index] = finding;
    }
    if (r->cancel != NULL) petar_session_cancel(r->cancel);
}

static petar_batch_params into(report *r, int width) {
    memset(r, 0, sizeof *r);
    r->well_formed = true;
    petar_batch_params batch;
    petar_batch_params_init(&batch, sizeof batch);
    batch.width = width;
    batch.on_finding = on_finding;
    batch.user_data = r;
    return batch;
}

static bool each_once(const report *r) {
    bool once = r->well_formed && r->total == LESIONS;
    for (int i = 0; i < LESIONS; i++) once = once && r->calls[i] == 1;
    return once;
}

static void drop(report *r) {
    for (int i = 0; i < LESIONS; i++) petar_finding_free(r->finding[i]);
}

static void check_all(report *r, const writing *expected) {
    CHECK(each_once(r));
    for (int i = 0; i < LESIONS; i++) {
        if (!CHECK(r->status[i] == PETAR_OK)) continue;
        writing w = read_finding(r->finding[i]);
        CHECK(same(&w, &expected[i]));
    }
    drop(r);
}

/* ---- The same texts ---- */

static void run_backwards(void *user_data, void *task, petar_task_fn run, size_t count) {
    (void)user_data;
    for (size_t i = count; i-- > 0;) run(task, i);
}

static void test_texts(const fixture *f, const petar_exam *exams, const writing *expected) {
    int different = 0;
    for (int i = 1; i < LESIONS; i++) different += !same(&expected[i], &expected[0]);
    CHECK(different > 0);
    const int widths[] = {1, 2, 7, 16, 0};
    for (int i = 0; i < 10; i++) {
        petar_session_params session_params;
        petar_session_params_init(&session_params, sizeof session_params);
        session_params.threads = i % 3 + 1;
        session_params.parallel = i < 5 ? NULL : run_backwards;
        petar_session *session;
        CHECK_STATUS(petar_session_create(f->model, &session_params, &session), PETAR_OK);
        report r;
        petar_batch_params batch = into(&r, widths[i % 5]);
        petar_describe_params params = sampled();
        CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &batch), PETAR_OK);
        check_all(&r, expected);
        petar_session_free(session);
    }
}

/* ---- Exams as a newer header declares them ---- */

typedef struct newer_exam {
    petar_exam exam;
    int64_t more[3];
} newer_exam;

static void test_exam_sizes(petar_session *session, const petar_exam *exams, const writing *expected) {
    newer_exam newer[LESIONS];
    memset(newer, 0, sizeof newer);
    for (int i = 0; i < LESIONS; i++) {
        newer[i].exam = exams[i];
        newer[i].exam.struct_size = sizeof newer[i];
    }
    report r;
    petar_batch_params batch = into(&r, 0);
    petar_describe_params params = sampled();
    CHECK_STATUS(petar_describe_batch(session, &newer[0].exam, LESIONS, &params, &batch), PETAR_OK);
    check_all(&r, expected);

    batch = into(&r, 0);
    newer[4].more[2] = 1;
    CHECK_STATUS(petar_describe_batch(session, &newer[0].exam, LESIONS, &params, &batch), PETAR_ERROR_UNSUPPORTED);
    newer[4].more[2] = 0;
    newer[3].exam.struct_size = sizeof(petar_exam);
    CHECK_STATUS(petar_describe_batch(session, &newer[0].exam, LESIONS, &params, &batch), INVALID);
    CHECK(strstr(petar_last_message(), "exams[3]") != NULL);
    const size_t sizes[] = {0, 1, sizeof(petar_exam) - 8, sizeof(petar_exam) + 4, (size_t)1 << 40, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        petar_exam exam = exams[0];
        exam.struct_size = sizes[i];
        CHECK_STATUS(petar_describe_batch(session, &exam, 1, &params, &batch), INVALID);
    }
    CHECK(r.total == 0);
}

/* ---- Failures ---- */

static void test_one_broken_lesion(petar_session *session, const petar_exam *exams, const writing *expected) {
    petar_exam mixed[LESIONS];
    memcpy(mixed, exams, sizeof mixed);
    mixed[BROKEN].label = 77;
    report r;
    petar_batch_params batch = into(&r, 3);
    petar_describe_params params = sampled();
    CHECK_STATUS(petar_describe_batch(session, mixed, LESIONS, &params, &batch), PETAR_ERROR_EMPTY_MASK);
    CHECK(strstr(petar_last_message(), "77") != NULL);
    CHECK(each_once(&r));
    CHECK(r.status[BROKEN] == PETAR_ERROR_EMPTY_MASK && strcmp(r.message[BROKEN], petar_last_message()) == 0);
    for (int i = 0; i < LESIONS; i++) {
        if (i == BROKEN || !CHECK(r.status[i] == PETAR_OK)) continue;
        writing w = read_finding(r.finding[i]);
        CHECK(same(&w, &expected[i]));
    }
    drop(&r);

    /* Of several the first that fails. */
    mixed[5].pet = mixed[5].ct;
    batch = into(&r, 3);
    CHECK_STATUS(petar_describe_batch(session, mixed, LESIONS, &params, &batch), PETAR_ERROR_EMPTY_MASK);
    CHECK(each_once(&r) && r.status[5] == PETAR_ERROR_BAD_UNIT && r.status[6] == PETAR_OK);
    drop(&r);
}

static void no_token(void *user_data, const char *text, size_t length, int32_t token) {
    (void)user_data, (void)text, (void)length, (void)token;
}

static void test_refusals(petar_session *session, const petar_exam *exams) {
    report r;
    const petar_batch_params good = into(&r, 0);
    petar_describe_params params = sampled();
    CHECK_STATUS(petar_describe_batch(NULL, exams, LESIONS, &params, &good), INVALID);
    CHECK_STATUS(petar_describe_batch(session, NULL, LESIONS, &params, &good), INVALID);
    CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, NULL), INVALID);
    const size_t counts[] = {(size_t)-1, SIZE_MAX / sizeof(petar_exam), SIZE_MAX / 2, (size_t)1 << 40};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        CHECK_STATUS(petar_describe_batch(session, exams, counts[i], &params, &good), INVALID);
    }
    const int widths[] = {-1, 17, INT32_MIN, INT32_MAX};
    for (int i = 0; i < 4; i++) {
        petar_batch_params batch = good;
        batch.width = widths[i];
        CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &batch), INVALID);
    }
    petar_batch_params deaf = good;
    deaf.on_finding = NULL;
    CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &deaf), INVALID);
    CHECK(strstr(petar_last_message(), "on_finding") != NULL);
    for (int i = 0; i < 5; i++) {
        petar_exam broken[LESIONS];
        memcpy(broken, exams, sizeof broken);
        if (i == 0) broken[4].pet = NULL;
        if (i == 1) broken[4].ct = NULL;
        if (i == 2) broken[4].mask = NULL;
        if (i == 3) broken[4].label = -1;
        if (i == 4) broken[4].ct_outside = 7;
        CHECK_STATUS(petar_describe_batch(session, broken, LESIONS, &params, &good), INVALID);
        CHECK(strstr(petar_last_message(), "exams[4]") != NULL);
    }
    params.on_token = no_token;
    CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &good), INVALID);
    CHECK(strstr(petar_last_message(), "on_token") != NULL);
    params = sampled();
    params.question = "\xff";
    CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &good), PETAR_ERROR_BAD_TEXT);
    params = sampled();
    params.max_tokens = INT32_MAX;
    CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &good), PETAR_ERROR_CONTEXT_FULL);
    params.max_tokens = -1;
    CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &good), INVALID);
    CHECK(r.total == 0);

    /* No lesion is no failure. */
    CHECK_STATUS(petar_describe_batch(session, NULL, 0, NULL, &good), PETAR_OK);
    CHECK_STATUS(petar_describe_batch(session, exams, 0, NULL, &good), PETAR_OK);
    CHECK(r.total == 0);
}

/* ---- Callbacks: busy, cancel ---- */

typedef struct intruder {
    petar_session *session;
    const petar_exam *exams;
    const char *cancel_in; /* the stage */
    int calls;
    bool busy;
    bool cancelled;
    const report *report; /* of a batch that the first finding cancels; else NULL */
    int after;            /* calls that came after the cancelling one */
} intruder;

static void on_progress(void *user_data, const char *stage, double fraction) {
    intruder *i = user_data;
    (void)fraction;
    if (i->calls++ == 0) {
        report r;
        petar_batch_params batch = into(&r, 0);
        petar_finding *finding;
        i->busy = petar_describe_batch(i->session, i->exams, LESIONS, NULL, &batch) == PETAR_ERROR_BUSY &&
                  r.total == 0 && petar_describe(i->session, i->exams, NULL, &finding) == PETAR_ERROR_BUSY;
    }
    if (i->cancelled || (i->report != NULL && i->report->total > 0)) i->after++;
    if (i->cancel_in != NULL && strcmp(stage, i->cancel_in) == 0) {
        i->cancelled = true;
        petar_session_cancel(i->session);
    }
}

static void test_busy(petar_session *session, const petar_exam *exams, const writing *expected) {
    intruder i = {.session = session, .exams = exams};
    petar_describe_params params = sampled();
    params.on_progress = on_progress;
    params.user_data = &i;
    report r;
    petar_batch_params batch = into(&r, 2);
    CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &batch), PETAR_OK);
    CHECK(i.busy);
    check_all(&r, expected);
}

static void test_cancel(petar_session *session, const petar_exam *exams, const writing *expected) {
    static const char *const stages[] = {"prepare", "encode", "prefill", "decode", NULL /* the first finding */};
    for (int k = 0; k < 5; k++) {
        report r;
        intruder i = {.session = session, .exams = exams, .cancel_in = stages[k], .report = stages[k] ? NULL : &r};
        petar_describe_params params = sampled();
        params.on_progress = on_progress;
        params.user_data = &i;
        petar_batch_params batch = into(&r, 3);
        r.cancel = stages[k] == NULL ? session : NULL;
        CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &batch), PETAR_CANCELLED);
        CHECK(each_once(&r));
        int done = 0;
        for (int lesion = 0; lesion < LESIONS; lesion++) {
            if (r.status[lesion] == PETAR_OK) {
                writing w = read_finding(r.finding[lesion]);
                CHECK(same(&w, &expected[lesion]));
                done++;
            } else {
                CHECK(r.status[lesion] == PETAR_CANCELLED);
            }
        }
        CHECK(stages[k] == NULL ? done > 0 && done < LESIONS : done == 0);
        CHECK(i.after <= (done > 0 ? done : 1));
        drop(&r);
    }
    report r;
    petar_batch_params batch = into(&r, 4);
    petar_describe_params params = sampled();
    CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &batch), PETAR_OK);
    check_all(&r, expected);
}

/* ---- Lifetimes ---- */

static void test_lifetimes(const writing *expected) {
    fixture f = fixture_open_small();
    petar_exam exams[LESIONS];
    make_exams(&f, exams);
    petar_session *session = fixture_session(&f, 2);
    petar_model_free(f.model);
    f.model = NULL;
    report r;
    petar_batch_params batch = into(&r, 0);
    petar_describe_params params = sampled();
    CHECK_STATUS(petar_describe_batch(session, exams, LESIONS, &params, &batch), PETAR_OK);
    petar_session_free(session);
    fixture_close(&f);
    check_all(&r, expected);
}

int main(void) {
    fixture f = fixture_open_small();
    petar_session *session = fixture_session(&f, 2);
    petar_exam exams[LESIONS];
    make_exams(&f, exams);
    writing expected[LESIONS];
    describe_one_by_one(session, exams, expected);
    test_texts(&f, exams, expected);
    test_exam_sizes(session, exams, expected);
    test_one_broken_lesion(session, exams, expected);
    test_refusals(session, exams);
    test_busy(session, exams, expected);
    test_cancel(session, exams, expected);
    test_lifetimes(expected);
    petar_session_free(session);
    fixture_close(&f);
    return check_summary("test_batch");
}
