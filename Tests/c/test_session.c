/* test_session.c - sessions at work: threads, cancelling, host runners, streams, lifetimes, the host's float mode. */
#include "check.h"
#include "fixture.h"

#include <pthread.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

/* ---- Streams and progress ---- */

typedef struct stream {
    char text[8192];
    size_t length;
    int32_t ids[256];
    size_t count;
    int whole; /* every piece so far was NUL-terminated, valid UTF-8 */
    char stage[16];
    double fraction;
    int stages, ordered;
    pthread_t caller;
    int on_caller;
} stream;

static int is_utf8(const char *text, size_t length) {
    for (size_t i = 0; i < length;) {
        unsigned char lead = (unsigned char)text[i];
        size_t more = lead < 0x80 ? 0 : lead >= 0xC2 && lead < 0xE0 ? 1 : (lead & 0xF0) == 0xE0 ? 2 : 3;
        if ((lead >= 0x80 && lead < 0xC2) || lead > 0xF4 || i + more >= length) return 0;
        for (size_t k = 1; k <= more; k++) {
            if ((text[i + k] & 0xC0) != 0x80) return 0;
        }
        i += more + 1;
    }
    return 1;
}

static void stream_token(void *user_data, const char *text, size_t length, int32_t token) {
    stream *s = user_data;
    s->on_caller = s->on_caller && pthread_equal(pthread_self(), s->caller);
    s->whole = s->whole && text[length] == 0 && is_utf8(text, length);
    if (s->length + length < sizeof s->text) memcpy(s->text + s->length, text, length);
    s->length += length;
    if (token >= 0 && s->count < 256) s->ids[s->count++] = token;
}

static void stream_progress(void *user_data, const char *stage, double fraction) {
    stream *s = user_data;
    static const char *const order[] = {"prepare", "encode", "prefill", "decode"};
    s->on_caller = s->on_caller && pthread_equal(pthread_self(), s->caller);
    if (strcmp(s->stage, stage) != 0) {
        s->ordered = s->ordered && s->stages < 4 && strcmp(stage, order[s->stages]) == 0 &&
                     (s->stages == 0 || s->fraction == 1);
        snprintf(s->stage, sizeof s->stage, "%s", stage);
        s->stages++;
        s->fraction = 0;
    }
    s->ordered = s->ordered && fraction >= s->fraction && fraction <= 1;
    s->fraction = fraction;
}

static void test_stream(fixture *f, petar_session *session) {
    stream s;
    memset(&s, 0, sizeof s);
    s.whole = s.ordered = s.on_caller = 1;
    s.caller = pthread_self();
    petar_describe_params params = fixture_describe_params();
    params.max_tokens = 32;
    params.on_token = stream_token;
    params.on_progress = stream_progress;
    params.user_data = &s;
    petar_finding *finding;
    if (!CHECK_STATUS(petar_describe(session, &f->exam, &params, &finding), PETAR_OK)) return;
    int32_t ids[64];
    size_t count = 64;
    CHECK_STATUS(petar_finding_tokens(finding, ids, &count), PETAR_OK);
    CHECK(count > 0 && count == s.count && memcmp(ids, s.ids, count * sizeof *ids) == 0);
    char *text = fixture_text(finding);
    CHECK(strlen(text) == s.length && memcmp(text, s.text, s.length) == 0);
    CHECK(s.whole);
    CHECK(s.on_caller);
    CHECK(s.ordered && s.stages == 4 && s.fraction == 1);
    free(text);
}

/* ---- Two threads on one session ---- */

typedef struct rival {
    fixture *f;
    petar_session *session;
    petar_views *views;
    int tried;
} rival;

static void *rival_calls(void *argument) {
    rival *r = argument;
    petar_finding *finding;
    petar_views *views;
    int32_t id = 1;
    size_t size = 0;
    CHECK_STATUS(petar_describe(r->session, &r->f->exam, NULL, &finding), PETAR_ERROR_BUSY);
    CHECK(finding == NULL);
    CHECK_STATUS(petar_prepare(r->session, &r->f->exam, &views), PETAR_ERROR_BUSY);
    CHECK(views == NULL);
    float *tokens = calloc(1 << 24, sizeof *tokens);
    size = 1 << 24;
    CHECK_STATUS(petar_encode(r->session, r->views, tokens, &size), PETAR_ERROR_BUSY);
    size = 1 << 24;
    CHECK_STATUS(petar_logits(r->session, NULL, 0, &id, 1, 1, tokens, &size), PETAR_ERROR_BUSY);
    free(tokens);
    return NULL;
}

static void rival_progress(void *user_data, const char *stage, double fraction) {
    rival *r = user_data;
    (void)stage, (void)fraction;
    if (r->tried) return;
    r->tried = 1;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, rival_calls, r) == 0);
    pthread_join(thread, NULL);
}

static void test_busy(fixture *f, petar_session *session, const char *expected) {
    rival r = {f, session, NULL, 0};
    CHECK_STATUS(petar_prepare(session, &f->exam, &r.views), PETAR_OK);
    petar_describe_params params = fixture_describe_params();
    params.on_progress = rival_progress;
    params.user_data = &r;
    char *text = fixture_describe(session, f, &params);
    CHECK(r.tried && strcmp(text, expected) == 0);
    free(text);
    petar_views_free(r.views);
}

/* ---- Cancelling ---- */

typedef struct canceller {
    petar_session *session;
    const char *stage; /* cancel on the first progress of this stage; NULL: on the third token */
    int from_other_thread;
    int tokens;
    int called;
    int after; /* callbacks that came after the cancelling one */
} canceller;

static void *cancel_from_thread(void *session) {
    petar_session_cancel(session);
    return NULL;
}

static void cancel_now(canceller *c) {
    c->called = 1;
    if (!c->from_other_thread) {
        petar_session_cancel(c->session);
        return;
    }
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, cancel_from_thread, c->session) == 0);
    pthread_join(thread, NULL);
}

static void cancel_on_token(void *user_data, const char *text, size_t length, int32_t token) {
    canceller *c = user_data;
    (void)text, (void)length, (void)token;
    c->after += c->called;
    if (++c->tokens == 3 && c->stage == NULL) cancel_now(c);
}

static void cancel_on_progress(void *user_data, const char *stage, double fraction) {
    canceller *c = user_data;
    (void)fraction;
    c->after += c->called;
    if (!c->called && c->stage != NULL && strcmp(stage, c->stage) == 0) cancel_now(c);
}

static void test_cancel(fixture *f, petar_session *session, const char *expected) {
    static const char *const stages[] = {"prepare", "encode", "prefill", NULL};
    for (int i = 0; i < 8; i++) {
        canceller c = {.session = session, .stage = stages[i / 2], .from_other_thread = i % 2};
        petar_describe_params params = fixture_describe_params();
        params.on_token = cancel_on_token;
        params.on_progress = cancel_on_progress;
        params.user_data = &c;
        petar_finding *finding;
        CHECK_STATUS(petar_describe(session, &f->exam, &params, &finding), PETAR_CANCELLED);
        CHECK(finding == NULL && c.called);
        CHECK(c.tokens == (c.stage == NULL ? 3 : 0));
        CHECK(c.after <= 1);
    }
    /* Without a running call it does nothing, and the session is as good as new. */
    petar_session_cancel(session);
    petar_describe_params params = fixture_describe_params();
    char *text = fixture_describe(session, f, &params);
    CHECK(strcmp(text, expected) == 0);
    free(text);
}

/* ---- A host's own runner ---- */

typedef struct runner {
    size_t calls, largest;
} runner;

static void note_run(runner *r, size_t count) {
    r->calls++;
    r->largest = count > r->largest ? count : r->largest;
}

static void run_reversed(void *user_data, void *task, petar_task_fn run, size_t count) {
    runner *r = user_data;
    note_run(r, count);
    for (size_t i = count; i-- > 0;) run(task, i);
}

typedef struct share {
    void *task;
    petar_task_fn run;
    size_t first, count;
} share;

static void *run_share(void *argument) {
    share *s = argument;
    for (size_t i = s->first; i < s->count; i += 3) s->run(s->task, i);
    return NULL;
}

static void run_threaded(void *user_data, void *task, petar_task_fn run, size_t count) {
    runner *r = user_data;
    note_run(r, count);
    pthread_t threads[3];
    share shares[3];
    for (size_t i = 0; i < 3; i++) {
        shares[i] = (share){task, run, i, count};
        if (pthread_create(&threads[i], NULL, run_share, &shares[i]) != 0) exit(2);
    }
    for (size_t i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}

/* What a host must not do still gives the text that the contract promises, and never a finding of nothing. */
static void run_nothing(void *user_data, void *task, petar_task_fn run, size_t count) {
    (void)task, (void)run;
    note_run(user_data, count);
}

static void run_wrong_indices(void *user_data, void *task, petar_task_fn run, size_t count) {
    note_run(user_data, count);
    const size_t indices[] = {count, count + 1, 1000000, SIZE_MAX, 0};
    for (size_t i = 0; i < sizeof indices / sizeof *indices; i++) run(task, indices[i]);
}

static void test_runners(fixture *f, const char *expected) {
    const petar_parallel_fn runners[] = {run_reversed, run_threaded, run_nothing, run_wrong_indices};
    for (int i = 0; i < 4; i++) {
        runner r = {0, 0};
        petar_session_params session_params;
        petar_session_params_init(&session_params, sizeof session_params);
        session_params.threads = 3;
        session_params.parallel = runners[i];
        session_params.parallel_user_data = &r;
        petar_session *session;
        CHECK_STATUS(petar_session_create(f->model, &session_params, &session), PETAR_OK);
        petar_describe_params params = fixture_describe_params();
        char *text = fixture_describe(session, f, &params);
        CHECK(strcmp(text, expected) == 0);
        CHECK(r.calls > 0 && r.largest == 3);
        free(text);
        petar_session_free(session);
    }
}

/* ---- Lifetimes ---- */

static void test_lifetimes(const char *expected) {
    fixture f = fixture_open();
    petar_session *session = fixture_session(&f, 2);
    petar_session *idle = fixture_session(&f, 0);
    petar_model_free(f.model);
    f.model = NULL;
    petar_describe_params params = fixture_describe_params();
    petar_finding *finding;
    CHECK_STATUS(petar_describe(session, &f.exam, &params, &finding), PETAR_OK);
    petar_views *views;
    CHECK_STATUS(petar_prepare(session, &f.exam, &views), PETAR_OK);
    fixture_close(&f);
    petar_session_free(session);
    petar_session_free(idle);
    size_t size = 0;
    CHECK_STATUS(petar_views_geometry(views, NULL, &size), PETAR_OK);
    petar_views_free(views);
    char *text = fixture_text(finding);
    CHECK(strcmp(text, expected) == 0);
    free(text);
}

/* ---- The host's floating-point mode ---- */

static void test_float_mode(fixture *f, petar_session *session, const char *expected) {
#if defined(__SSE__)
    const unsigned before = _mm_getcsr();
    const unsigned flush = 0x8040; /* FTZ and DAZ */
    const unsigned modes[] = {before | flush, before | 0x6000 /* round toward zero */};
    for (int i = 0; i < 2; i++) {
        _mm_setcsr(modes[i]);
        petar_describe_params params = fixture_describe_params();
        char *text = fixture_describe(session, f, &params);
        const unsigned after = _mm_getcsr();
        _mm_setcsr(before);
        CHECK(strcmp(text, expected) == 0);
        CHECK((after & 0xFFC0) == (modes[i] & 0xFFC0)); /* the lowest six bits are sticky exception flags */
        free(text);
    }
#else
    (void)f, (void)session, (void)expected;
#endif
}

int main(void) {
    fixture f = fixture_open();
    petar_session *session = fixture_session(&f, 2);
    petar_describe_params params = fixture_describe_params();
    char *expected = fixture_describe(session, &f, &params);
    CHECK(*expected != 0);
    test_stream(&f, session);
    test_busy(&f, session, expected);
    test_cancel(&f, session, expected);
    test_runners(&f, expected);
    test_lifetimes(expected);
    test_float_mode(&f, session, expected);
    free(expected);
    petar_session_free(session);
    fixture_close(&f);
    return check_summary("test_session");
}
