/* test_structs.c - struct_size: older and newer headers than the library was built with. */
#include "check.h"
#include "fixture.h"

#include <stddef.h>
#include <stdbool.h>

/* A struct as a newer header would declare it: the fields known here, then more. */
typedef union grown {
    char bytes[512];
    max_align_t align;
} grown;

typedef petar_status (*grown_call)(const grown *, fixture *, petar_session *);

static petar_status open_grown(const grown *g, fixture *f, petar_session *s) {
    (void)f, (void)s;
    petar_model *model;
    petar_status status = petar_model_open(fixture_setting("PETAR_TEST_MODEL"), (const void *)g, &model);
    petar_model_free(model);
    return status;
}

static petar_status info_grown(const grown *g, fixture *f, petar_session *s) {
    (void)s;
    grown copy = *g;
    return petar_model_get_info(f->model, (void *)&copy);
}

static petar_status volume_grown(const grown *g, fixture *f, petar_session *s) {
    (void)f, (void)s;
    static const float voxel = 1;
    grown copy = *g;
    petar_volume_params *params = (void *)&copy;
    params->voxels = &voxel;
    params->voxels_size = sizeof voxel;
    params->data_type = PETAR_FLOAT32;
    params->unit = PETAR_UNIT_SUV;
    for (int axis = 0; axis < 3; axis++) params->shape[axis] = 1;
    for (int i = 0; i < 4; i++) params->affine[5 * i] = 1;
    petar_volume *volume;
    petar_status status = petar_volume_create(params, &volume);
    petar_volume_free(volume);
    return status;
}

static petar_status session_grown(const grown *g, fixture *f, petar_session *s) {
    (void)s;
    petar_session *session;
    petar_status status = petar_session_create(f->model, (const void *)g, &session);
    petar_session_free(session);
    return status;
}

static petar_status exam_grown(const grown *g, fixture *f, petar_session *s) {
    grown copy = *g;
    petar_exam *exam = (void *)&copy;
    exam->pet = f->pet;
    exam->ct = f->ct;
    exam->mask = f->mask;
    exam->label = 1;
    petar_views *views;
    petar_status status = petar_prepare(s, exam, &views);
    petar_views_free(views);
    return status;
}

static petar_status describe_grown(const grown *g, fixture *f, petar_session *s) {
    grown copy = *g;
    ((petar_describe_params *)(void *)&copy)->max_tokens = 1;
    petar_finding *finding;
    petar_status status = petar_describe(s, &f->exam, (const void *)&copy, &finding);
    petar_finding_free(finding);
    return status;
}

static void free_finding(void *user_data, size_t index, petar_status status, const char *message,
                         petar_finding *finding) {
    (void)user_data, (void)index, (void)status, (void)message;
    petar_finding_free(finding);
}

static petar_status batch_grown(const grown *g, fixture *f, petar_session *s) {
    grown copy = *g;
    ((petar_batch_params *)(void *)&copy)->on_finding = free_finding;
    petar_describe_params params;
    petar_describe_params_init(&params, sizeof params);
    params.max_tokens = 1;
    return petar_describe_batch(s, &f->exam, 1, &params, (const void *)&copy);
}

static void init_info(petar_model_info *info, size_t size) {
    memset(info, 0, size);
    info->struct_size = size;
}

static void test_struct_sizes(fixture *f, petar_session *session) {
    typedef void (*init)(void *, size_t);
    const struct {
        const char *name;
        init init;
        grown_call call;
        size_t size;
        size_t first; /* its size in 0.1.0: never to be changed, so that programs built then go on working */
    } structs[] = {
        {"petar_model_params", (init)petar_model_params_init, open_grown, sizeof(petar_model_params), 40},
        {"petar_model_info", (init)init_info, info_grown, sizeof(petar_model_info), 72},
        {"petar_volume_params", (init)petar_volume_params_init, volume_grown, sizeof(petar_volume_params), 216},
        {"petar_session_params", (init)petar_session_params_init, session_grown, sizeof(petar_session_params), 48},
        {"petar_exam", (init)petar_exam_init, exam_grown, sizeof(petar_exam), 40},
        {"petar_describe_params", (init)petar_describe_params_init, describe_grown, sizeof(petar_describe_params), 64},
        {"petar_batch_params", (init)petar_batch_params_init, batch_grown, sizeof(petar_batch_params), 32},
    };
    for (size_t i = 0; i < sizeof structs / sizeof *structs; i++) {
        const size_t known = structs[i].size;
        /* petar_model_info is filled by the library: as much of it as fits, and its tail says nothing. */
        const bool output = structs[i].call == info_grown;
        grown g;

        /* Neither more nor less than struct_size bytes are written. */
        if (!output) {
            memset(&g, 0xAA, sizeof g);
            structs[i].init(&g, 0);
            CHECK((unsigned char)g.bytes[0] == 0xAA);
            structs[i].init(&g, known);
            CHECK((unsigned char)g.bytes[known] == 0xAA);
            memset(&g, 0xAA, sizeof g);
            structs[i].init(&g, known + 16);
            bool zero = true;
            for (size_t k = known; k < known + 16; k++) zero = zero && g.bytes[k] == 0;
            CHECK(zero && (unsigned char)g.bytes[known + 16] == 0xAA);
        }

        const size_t small[] = {0, 1, sizeof(size_t), structs[i].first - 1};
        structs[i].init(&g, known);
        CHECK_STATUS(structs[i].call(&g, f, session), PETAR_OK);
        /* A struct of 0.1.0: what lies behind it is not looked at. */
        CHECK(structs[i].first <= known);
        memset(&g, 0xAA, sizeof g);
        structs[i].init(&g, structs[i].first);
        CHECK_STATUS(structs[i].call(&g, f, session), PETAR_OK);
        for (int k = 0; k < (output ? 2 : 4); k++) {
            structs[i].init(&g, known);
            memcpy(&g, &small[k], sizeof(size_t));
            if (!CHECK_STATUS(structs[i].call(&g, f, session), PETAR_ERROR_INVALID_ARGUMENT)) {
                fprintf(stderr, "  in %s of size %zu\n", structs[i].name, small[k]);
            }
        }
        memset(&g, 0, sizeof g);
        structs[i].init(&g, sizeof g);
        CHECK_STATUS(structs[i].call(&g, f, session), PETAR_OK);
        if (output) continue;
        g.bytes[known] = 1;
        CHECK_STATUS(structs[i].call(&g, f, session), PETAR_ERROR_UNSUPPORTED);
        g.bytes[known] = 0;
        g.bytes[sizeof g - 1] = 1;
        CHECK_STATUS(structs[i].call(&g, f, session), PETAR_ERROR_UNSUPPORTED);
    }
}

int main(void) {
    fixture f = fixture_open();
    petar_session *session = fixture_session(&f, 2);
    test_struct_sizes(&f, session);
    petar_session_free(session);
    fixture_close(&f);
    return check_summary("test_structs");
}
