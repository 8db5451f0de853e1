/* test_contract.c - what petar.h promises of arguments: NULL, ranges, sizes, strings, buffers. */
#include "check.h"
#include "fixture.h"

#include <math.h>
#include <stdbool.h>

#define INVALID PETAR_ERROR_INVALID_ARGUMENT

/* A pointer that must have become NULL because the call that fills it failed. */
static void *const unset = (void *)&check_passed;
#define CHECK_UNSET(call, out)                                                                                         \
    do {                                                                                                               \
        out = unset;                                                                                                   \
        CHECK_STATUS(call, INVALID);                                                                                   \
        CHECK(out == NULL);                                                                                            \
    } while (0)

static void test_null(fixture *f, petar_session *session, petar_views *views, petar_finding *finding) {
    petar_model *model;
    petar_volume *volume;
    petar_session *other;
    petar_finding *result;
    petar_views *prepared;
    petar_volume_params volume_params;
    petar_volume_params_init(&volume_params, sizeof volume_params);
    int32_t ids[4] = {0};
    char text[4];
    float number;
    size_t size = 1;
    petar_model_info info;
    info.struct_size = sizeof info;

    CHECK_STATUS(petar_build_info(text, NULL), INVALID);
    CHECK_UNSET(petar_model_open(NULL, NULL, &model), model);
    CHECK_STATUS(petar_model_open(fixture_setting("PETAR_TEST_MODEL"), NULL, NULL), INVALID);
    CHECK_STATUS(petar_model_get_info(NULL, &info), INVALID);
    CHECK_STATUS(petar_model_get_info(f->model, NULL), INVALID);
    CHECK_STATUS(petar_model_metadata(NULL, text, &size), INVALID);
    CHECK_STATUS(petar_model_metadata(f->model, text, NULL), INVALID);
    CHECK_STATUS(petar_tokenize(NULL, "a", 1, ids, &size), INVALID);
    CHECK_STATUS(petar_tokenize(f->model, NULL, 1, ids, &size), INVALID);
    CHECK_STATUS(petar_tokenize(f->model, "a", 1, ids, NULL), INVALID);
    CHECK_STATUS(petar_detokenize(NULL, ids, 1, 0, text, &size), INVALID);
    CHECK_STATUS(petar_detokenize(f->model, NULL, 1, 0, text, &size), INVALID);
    CHECK_STATUS(petar_detokenize(f->model, ids, 1, 0, text, NULL), INVALID);
    CHECK_STATUS(petar_model_prompt(NULL, "a", ids, &size), INVALID);
    CHECK_STATUS(petar_model_prompt(f->model, "a", ids, NULL), INVALID);

    CHECK_UNSET(petar_volume_create(NULL, &volume), volume);
    CHECK_UNSET(petar_volume_create(&volume_params, &volume), volume); /* voxels is NULL */
    CHECK_STATUS(petar_volume_create(&volume_params, NULL), INVALID);
    CHECK_UNSET(petar_volume_read(NULL, PETAR_UNIT_SUV, 0, &volume), volume);
    CHECK_STATUS(petar_volume_read("x.nii", PETAR_UNIT_SUV, 0, NULL), INVALID);
    CHECK_STATUS(petar_volume_labels(NULL, ids, &size), INVALID);
    CHECK_STATUS(petar_volume_labels(f->mask, ids, NULL), INVALID);

    CHECK_UNSET(petar_session_create(NULL, NULL, &other), other);
    CHECK_STATUS(petar_session_create(f->model, NULL, NULL), INVALID);
    CHECK_UNSET(petar_describe(NULL, &f->exam, NULL, &result), result);
    CHECK_UNSET(petar_describe(session, NULL, NULL, &result), result);
    CHECK_STATUS(petar_describe(session, &f->exam, NULL, NULL), INVALID);
    for (int missing = 0; missing < 3; missing++) {
        petar_exam exam = f->exam;
        *(missing == 0 ? &exam.pet : missing == 1 ? &exam.ct : &exam.mask) = NULL;
        CHECK_UNSET(petar_describe(session, &exam, NULL, &result), result);
        CHECK_UNSET(petar_prepare(session, &exam, &prepared), prepared);
    }
    CHECK_STATUS(petar_finding_text(NULL, text, &size), INVALID);
    CHECK_STATUS(petar_finding_text(finding, text, NULL), INVALID);
    CHECK_STATUS(petar_finding_tokens(NULL, ids, &size), INVALID);
    CHECK_STATUS(petar_finding_tokens(finding, ids, NULL), INVALID);
    CHECK_STATUS(petar_finding_json(NULL, text, &size), INVALID);
    CHECK_STATUS(petar_finding_json(finding, text, NULL), INVALID);

    CHECK_UNSET(petar_prepare(NULL, &f->exam, &prepared), prepared);
    CHECK_UNSET(petar_prepare(session, NULL, &prepared), prepared);
    CHECK_STATUS(petar_prepare(session, &f->exam, NULL), INVALID);
    CHECK_STATUS(petar_views_array(NULL, PETAR_VIEW_PET, &number, &size), INVALID);
    CHECK_STATUS(petar_views_array(views, PETAR_VIEW_PET, &number, NULL), INVALID);
    CHECK_STATUS(petar_views_geometry(NULL, text, &size), INVALID);
    CHECK_STATUS(petar_views_geometry(views, text, NULL), INVALID);
    CHECK_STATUS(petar_encode(NULL, views, &number, &size), INVALID);
    CHECK_STATUS(petar_encode(session, NULL, &number, &size), INVALID);
    CHECK_STATUS(petar_encode(session, views, &number, NULL), INVALID);
    CHECK_STATUS(petar_logits(NULL, NULL, 0, ids, 1, 1, &number, &size), INVALID);
    CHECK_STATUS(petar_logits(session, NULL, 0, NULL, 1, 1, &number, &size), INVALID);
    CHECK_STATUS(petar_logits(session, NULL, 4, ids, 1, 1, &number, &size), INVALID);
    CHECK_STATUS(petar_logits(session, NULL, 0, ids, 1, 1, &number, NULL), INVALID);

    petar_model_params_init(NULL, sizeof(petar_model_params));
    petar_volume_params_init(NULL, sizeof(petar_volume_params));
    petar_session_params_init(NULL, sizeof(petar_session_params));
    petar_exam_init(NULL, sizeof(petar_exam));
    petar_describe_params_init(NULL, sizeof(petar_describe_params));
    petar_batch_params_init(NULL, sizeof(petar_batch_params));
    petar_model_free(NULL);
    petar_volume_free(NULL);
    petar_session_free(NULL);
    petar_finding_free(NULL);
    petar_views_free(NULL);
    petar_session_cancel(NULL);
}

static void test_ranges(fixture *f, petar_session *session, petar_views *views) {
    petar_finding *finding;
    petar_session *other;
    petar_volume *volume;
    int32_t id = 0, outside[] = {-1, INT32_MIN, INT32_MAX};
    size_t size = 0;

    int32_t threads[] = {-1, INT32_MIN, 1025, INT32_MAX};
    for (int i = 0; i < 4; i++) {
        petar_session_params params;
        petar_session_params_init(&params, sizeof params);
        params.threads = threads[i];
        CHECK_UNSET(petar_session_create(f->model, &params, &other), other);
    }
    for (int i = 0; i < 7; i++) {
        petar_describe_params params = fixture_describe_params();
        if (i == 0) params.max_tokens = -1;
        if (i == 1) params.temperature = -1;
        if (i == 2) params.temperature = NAN;
        if (i == 3) params.temperature = 1, params.top_p = 0;
        if (i == 4) params.temperature = 1, params.top_p = 1.5f;
        if (i == 5) params.temperature = 1, params.top_p = -0.5f;
        if (i == 6) params.max_tokens = INT32_MIN;
        CHECK_UNSET(petar_describe(session, &f->exam, &params, &finding), finding);
    }
    petar_exam exam = f->exam;
    exam.label = -1;
    CHECK_UNSET(petar_describe(session, &exam, NULL, &finding), finding);
    exam = f->exam;
    exam.ct_outside = 7;
    CHECK_UNSET(petar_describe(session, &exam, NULL, &finding), finding);
    exam = f->exam;
    exam.label = 31000;
    CHECK_STATUS(petar_describe(session, &exam, NULL, &finding), PETAR_ERROR_EMPTY_MASK);
    exam = f->exam;
    exam.pet = f->ct;
    CHECK_STATUS(petar_describe(session, &exam, NULL, &finding), PETAR_ERROR_BAD_UNIT);
    exam = f->exam;
    exam.ct = f->pet;
    CHECK_STATUS(petar_describe(session, &exam, NULL, &finding), PETAR_ERROR_BAD_UNIT);
    exam = f->exam;
    exam.mask = f->pet;
    CHECK_STATUS(petar_describe(session, &exam, NULL, &finding), PETAR_ERROR_BAD_UNIT);
    CHECK_STATUS(petar_volume_labels(f->pet, NULL, &size), PETAR_ERROR_BAD_UNIT);

    char pet[4096];
    snprintf(pet, sizeof pet, "%s/pet.nii.gz", fixture_setting("PETAR_TEST_EXAM"));
    CHECK_UNSET(petar_volume_read(pet, 0, 0, &volume), volume);
    CHECK_UNSET(petar_volume_read(pet, INT32_MAX, 0, &volume), volume);
    CHECK_STATUS(petar_volume_read("/nonexistent/pet.nii", PETAR_UNIT_SUV, 0, &volume), PETAR_ERROR_IO);
    CHECK(volume == NULL && strstr(petar_last_message(), "pet.nii"));
    CHECK_STATUS(petar_views_array(views, -1, NULL, &size), INVALID);
    CHECK_STATUS(petar_views_array(views, 6, NULL, &size), INVALID);

    petar_model_info info;
    info.struct_size = sizeof info;
    CHECK_STATUS(petar_model_get_info(f->model, &info), PETAR_OK);
    size_t vocabulary = (size_t)info.vocabulary_size;
    float *row = calloc(vocabulary, sizeof *row);
    if (!CHECK(row != NULL)) return;
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(petar_detokenize(f->model, &outside[i], 1, 0, NULL, &size), PETAR_ERROR_BAD_TEXT);
        size = vocabulary;
        CHECK_STATUS(petar_logits(session, NULL, 0, &outside[i], 1, 1, row, &size), PETAR_ERROR_BAD_TEXT);
    }
    /* Sizes 0 and huge: refused before anything is read or allocated. */
    CHECK_STATUS(petar_detokenize(f->model, NULL, 0, 0, NULL, &size), PETAR_OK);
    CHECK(size == 1);
    CHECK_FAILS(petar_detokenize(f->model, &id, SIZE_MAX, 0, NULL, &size));
    const struct {
        size_t vision_count, id_count, last;
    } counts[] = {
        {0, 0, 1}, {0, 1, 0}, {0, 1, 2}, {0, 1, SIZE_MAX}, {0, SIZE_MAX, 1}, {SIZE_MAX, 1, 1},
        {1, 1, 1}, /* no image token for the vision token */
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const float *vision = counts[i].vision_count > 0 ? row : NULL;
        size = vocabulary;
        CHECK_FAILS(
            petar_logits(session, vision, counts[i].vision_count, &id, counts[i].id_count, counts[i].last, row, &size));
    }
    free(row);
}

static void test_volumes(void) {
    static const float voxels[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    petar_volume_params good;
    petar_volume_params_init(&good, sizeof good);
    CHECK(good.slope == 1 && good.intercept == 0);
    good.voxels = voxels;
    good.voxels_size = sizeof voxels;
    good.data_type = PETAR_FLOAT32;
    good.unit = PETAR_UNIT_SUV;
    for (int axis = 0; axis < 3; axis++) good.shape[axis] = 2;
    for (int i = 0; i < 4; i++) good.affine[5 * i] = 1;
    petar_volume *volume;
    CHECK_STATUS(petar_volume_create(&good, &volume), PETAR_OK);
    petar_volume_free(volume);

    size_t sizes[] = {0, 1, sizeof voxels - 1, sizeof voxels + 1, SIZE_MAX};
    for (int i = 0; i < 5; i++) {
        petar_volume_params params = good;
        params.voxels_size = sizes[i];
        volume = unset;
        CHECK_FAILS(petar_volume_create(&params, &volume));
        CHECK(volume == NULL);
    }
    int64_t sides[] = {0, -1, INT64_MIN, INT64_MAX, (int64_t)1 << 32};
    for (int i = 0; i < 5; i++) {
        petar_volume_params params = good;
        params.shape[0] = params.shape[1] = params.shape[2] = sides[i];
        CHECK_FAILS(petar_volume_create(&params, &volume));
        params.voxels_size = 0; /* what the product of the sides overflows to */
        CHECK_FAILS(petar_volume_create(&params, &volume));
    }
    int32_t types[] = {0, -1, 9, INT32_MAX};
    for (int i = 0; i < 4; i++) {
        petar_volume_params params = good;
        params.data_type = types[i];
        CHECK_FAILS(petar_volume_create(&params, &volume));
        params = good;
        params.unit = types[i];
        CHECK_FAILS(petar_volume_create(&params, &volume));
    }
    double factors[] = {0, -1, INFINITY, NAN};
    for (int i = 0; i < 4; i++) {
        petar_volume_params params = good;
        params.unit = PETAR_UNIT_BQML;
        params.suv_factor = factors[i];
        CHECK_FAILS(petar_volume_create(&params, &volume));
        CHECK(volume == NULL);
    }
    petar_volume_params params = good;
    params.affine[0] = 0;
    CHECK_STATUS(petar_volume_create(&params, &volume), PETAR_ERROR_BAD_GEOMETRY);
    params = good;
    params.affine[3] = NAN;
    CHECK_STATUS(petar_volume_create(&params, &volume), PETAR_ERROR_BAD_GEOMETRY);
    params = good;
    params.slope = INFINITY;
    CHECK_FAILS(petar_volume_create(&params, &volume));
}

static void test_text(fixture *f, petar_session *session) {
    const char *invalid[] = {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"};
    petar_finding *finding;
    size_t size = 0;
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        CHECK_STATUS(petar_tokenize(f->model, invalid[i], 1, NULL, &size), PETAR_ERROR_BAD_TEXT);
        CHECK_STATUS(petar_model_prompt(f->model, invalid[i], NULL, &size), PETAR_ERROR_BAD_TEXT);
        petar_describe_params params = fixture_describe_params();
        params.question = invalid[i];
        CHECK_STATUS(petar_describe(session, &f->exam, &params, &finding), PETAR_ERROR_BAD_TEXT);
        CHECK(finding == NULL);
    }
    /* A question longer than the context, and text that is longer than any context. */
    const size_t length = (1 << 22) + 1;
    char *long_question = malloc(length + 1);
    CHECK(long_question != NULL);
    if (long_question == NULL) return;
    for (size_t i = 0; i < length; i++) long_question[i] = i % 2 ? ' ' : 'x';
    long_question[length] = 0;
    petar_describe_params params = fixture_describe_params();
    params.question = long_question;
    CHECK_STATUS(petar_describe(session, &f->exam, &params, &finding), PETAR_ERROR_CONTEXT_FULL);
    CHECK_STATUS(petar_model_prompt(f->model, long_question, NULL, &size), PETAR_ERROR_CONTEXT_FULL);
    CHECK_STATUS(petar_tokenize(f->model, long_question, 1, NULL, &size), PETAR_ERROR_CONTEXT_FULL);
    long_question[1 << 20] = 0;
    CHECK_STATUS(petar_describe(session, &f->exam, &params, &finding), PETAR_ERROR_CONTEXT_FULL);
    CHECK(finding == NULL);
    free(long_question);
    /* The image token belongs to the images. */
    params.question = "Where is <im_patch>?";
    CHECK_STATUS(petar_describe(session, &f->exam, &params, &finding), PETAR_ERROR_BAD_TEXT);
    CHECK(strstr(petar_last_message(), "image token") != NULL);
    /* Text and back. */
    int32_t ids[64];
    size = 64;
    CHECK_STATUS(petar_tokenize(f->model, "a lesion", 1, ids, &size), PETAR_OK);
    char text[64];
    size_t bytes = sizeof text;
    CHECK_STATUS(petar_detokenize(f->model, ids, size, 0, text, &bytes), PETAR_OK);
    CHECK(strcmp(text, "a lesion") == 0 && bytes == sizeof "a lesion");
}

/* NULL asks for the size; a buffer too small by one is left alone; the exact one is filled. */
static void check_buffer(petar_status (*call)(void *state, void *buffer, size_t *size), void *state, size_t element) {
    size_t needed = 0;
    if (!CHECK_STATUS(call(state, NULL, &needed), PETAR_OK) || !CHECK(needed > 0)) return;
    size_t ignored = 1;
    CHECK_STATUS(call(state, NULL, &ignored), PETAR_OK);
    CHECK(ignored == needed);
    unsigned char *buffer = malloc((needed + 1) * element);
    if (!CHECK(buffer != NULL)) return;
    memset(buffer, 0xAA, (needed + 1) * element);
    for (int zero = 0; zero < 2; zero++) {
        size_t size = zero ? 0 : needed - 1;
        CHECK_STATUS(call(state, buffer, &size), PETAR_ERROR_BUFFER_TOO_SMALL);
        CHECK(size == needed);
    }
    bool untouched = true;
    for (size_t i = 0; i < (needed + 1) * element; i++) untouched = untouched && buffer[i] == 0xAA;
    CHECK(untouched);
    size_t size = needed + 1;
    CHECK_STATUS(call(state, buffer, &size), PETAR_OK);
    CHECK(size == needed);
    CHECK(buffer[needed * element] == 0xAA);
    if (element == 1) CHECK(buffer[needed - 1] == 0 && strlen((char *)buffer) == needed - 1);
    free(buffer);
}

typedef struct everything {
    fixture *f;
    petar_session *session;
    petar_views *views;
    petar_finding *finding;
} everything;

#define BUFFER_CALL(name, expression)                                                                                  \
    static petar_status buffer_##name(void *state, void *buffer, size_t *size) {                                       \
        everything *e = state;                                                                                         \
        (void)e;                                                                                                       \
        return expression;                                                                                             \
    }
static const int32_t some_ids[] = {1, 2, 3};
/* What "a lesion" is in the model's tokens. */
static int32_t text_ids[64];
static size_t text_count = 64;
BUFFER_CALL(build_info, petar_build_info(buffer, size))
BUFFER_CALL(metadata, petar_model_metadata(e->f->model, buffer, size))
BUFFER_CALL(tokenize, petar_tokenize(e->f->model, "a lesion", 1, buffer, size))
BUFFER_CALL(detokenize, petar_detokenize(e->f->model, text_ids, text_count, 1, buffer, size))
BUFFER_CALL(prompt, petar_model_prompt(e->f->model, NULL, buffer, size))
BUFFER_CALL(labels, petar_volume_labels(e->f->mask, buffer, size))
BUFFER_CALL(text, petar_finding_text(e->finding, buffer, size))
BUFFER_CALL(tokens, petar_finding_tokens(e->finding, buffer, size))
BUFFER_CALL(json, petar_finding_json(e->finding, buffer, size))
BUFFER_CALL(array, petar_views_array(e->views, PETAR_VIEW_CT_FOCAL, buffer, size))
BUFFER_CALL(geometry, petar_views_geometry(e->views, buffer, size))
BUFFER_CALL(encode, petar_encode(e->session, e->views, buffer, size))
BUFFER_CALL(logits, petar_logits(e->session, NULL, 0, some_ids, 1, 1, buffer, size))

static void test_buffers(everything *e) {
    CHECK_STATUS(petar_tokenize(e->f->model, "a lesion", 1, text_ids, &text_count), PETAR_OK);
    check_buffer(buffer_build_info, e, 1);
    check_buffer(buffer_metadata, e, 1);
    check_buffer(buffer_tokenize, e, sizeof(int32_t));
    check_buffer(buffer_detokenize, e, 1);
    check_buffer(buffer_prompt, e, sizeof(int32_t));
    check_buffer(buffer_labels, e, sizeof(int32_t));
    check_buffer(buffer_text, e, 1);
    check_buffer(buffer_tokens, e, sizeof(int32_t));
    check_buffer(buffer_json, e, 1);
    check_buffer(buffer_array, e, sizeof(float));
    check_buffer(buffer_geometry, e, 1);
    check_buffer(buffer_encode, e, sizeof(float));
    check_buffer(buffer_logits, e, sizeof(float));
}

static void test_names(void) {
    const struct {
        int value;
        const char *name;
    } statuses[] = {
        {0, "PETAR_OK"},
        {10, "PETAR_ERROR_INVALID_ARGUMENT"},
        {11, "PETAR_ERROR_BUSY"},
        {12, "PETAR_ERROR_UNSUPPORTED"},
        {13, "PETAR_ERROR_BUFFER_TOO_SMALL"},
        {20, "PETAR_CANCELLED"},
        {30, "PETAR_ERROR_OUT_OF_MEMORY"},
        {40, "PETAR_ERROR_IO"},
        {41, "PETAR_ERROR_BAD_FILE"},
        {42, "PETAR_ERROR_CHECKSUM"},
        {43, "PETAR_ERROR_FILE_VERSION"},
        {50, "PETAR_ERROR_BAD_VOLUME"},
        {51, "PETAR_ERROR_BAD_GEOMETRY"},
        {52, "PETAR_ERROR_BAD_UNIT"},
        {53, "PETAR_ERROR_EMPTY_MASK"},
        {54, "PETAR_ERROR_MASK_OUTSIDE"},
        {60, "PETAR_ERROR_BAD_TEXT"},
        {61, "PETAR_ERROR_CONTEXT_FULL"},
        {62, "PETAR_ERROR_NOT_FINITE"},
        {90, "PETAR_ERROR_INTERNAL"},
        {1, "unknown status"},
        {-1, "unknown status"},
        {INT32_MAX, "unknown status"},
    };
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        CHECK(strcmp(petar_status_name((petar_status)statuses[i].value), statuses[i].name) == 0);
    }
    CHECK(strcmp(petar_version(), "0.1.0") == 0);
}

int main(void) {
    CHECK(petar_last_message() != NULL && *petar_last_message() == 0);
    test_names();
    fixture f = fixture_open();
    petar_session *session = fixture_session(&f, 2);
    everything e = {&f, session, NULL, NULL};
    petar_describe_params params = fixture_describe_params();
    CHECK_STATUS(petar_prepare(session, &f.exam, &e.views), PETAR_OK);
    CHECK_STATUS(petar_describe(session, &f.exam, &params, &e.finding), PETAR_OK);
    test_null(&f, session, e.views, e.finding);
    test_ranges(&f, session, e.views);
    test_volumes();
    test_text(&f, session);
    test_buffers(&e);
    /* None of it has harmed the session. */
    char *again = fixture_describe(session, &f, &params);
    char *first = fixture_text(e.finding);
    CHECK(strcmp(again, first) == 0);
    free(again);
    free(first);
    petar_views_free(e.views);
    petar_session_free(session);
    fixture_close(&f);
    return check_summary("test_contract");
}
