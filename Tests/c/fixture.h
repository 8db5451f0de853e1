/* fixture.h - the exam and the model the tests run on: PETAR_TEST_MODEL is a .petar file, PETAR_TEST_MODELS a folder of
 * others, PETAR_TEST_EXAM a folder with pet.nii.gz, ct.nii.gz and lesions.nii.gz. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <petar.h>

#include <stdio.h>
#include <stdlib.h>

typedef struct fixture {
    petar_model *model;
    petar_volume *pet, *ct, *mask;
    petar_exam exam;
} fixture;

static inline const char *fixture_setting(const char *name) {
    const char *value = getenv(name);
    if (value == NULL) {
        fprintf(stderr, "%s is not set\n", name);
        exit(2);
    }
    return value;
}

static inline void fixture_require(petar_status status, const char *what) {
    if (status != PETAR_OK) {
        fprintf(stderr, "%s: %s\n", what, petar_last_message());
        exit(2);
    }
}

static inline petar_volume *fixture_volume(const char *file, petar_unit unit) {
    char path[4096];
    petar_volume *volume;
    snprintf(path, sizeof path, "%s/%s", fixture_setting("PETAR_TEST_EXAM"), file);
    fixture_require(petar_volume_read(path, unit, 0, &volume), path);
    return volume;
}

static inline petar_model *fixture_model(void) {
    petar_model *model;
    fixture_require(petar_model_open(fixture_setting("PETAR_TEST_MODEL"), NULL, &model), "model");
    return model;
}

/* The exam with another model. */
static inline fixture fixture_open_with(petar_model *model) {
    fixture f;
    f.model = model;
    f.pet = fixture_volume("pet.nii.gz", PETAR_UNIT_SUV);
    f.ct = fixture_volume("ct.nii.gz", PETAR_UNIT_HU);
    f.mask = fixture_volume("lesions.nii.gz", PETAR_UNIT_LABEL);
    petar_exam_init(&f.exam, sizeof f.exam);
    f.exam.pet = f.pet;
    f.exam.ct = f.ct;
    f.exam.mask = f.mask;
    f.exam.label = 1;
    return f;
}

static inline fixture fixture_open(void) { return fixture_open_with(fixture_model()); }

/* The exam with the smallest model, for tests that describe many lesions. */
static inline fixture fixture_open_small(void) {
    char path[4096];
    petar_model *model;
    snprintf(path, sizeof path, "%s/small-views-q8.petar", fixture_setting("PETAR_TEST_MODELS"));
    fixture_require(petar_model_open(path, NULL, &model), path);
    return fixture_open_with(model);
}

static inline void fixture_close(fixture *f) {
    petar_model_free(f->model);
    petar_volume_free(f->pet);
    petar_volume_free(f->ct);
    petar_volume_free(f->mask);
}

static inline petar_session *fixture_session(const fixture *f, int threads) {
    petar_session_params params;
    petar_session *session;
    petar_session_params_init(&params, sizeof params);
    params.threads = threads;
    fixture_require(petar_session_create(f->model, &params, &session), "session");
    return session;
}

/* Enough tokens to see a stream, few enough to be quick. */
static inline petar_describe_params fixture_describe_params(void) {
    petar_describe_params params;
    petar_describe_params_init(&params, sizeof params);
    params.max_tokens = 12;
    return params;
}

/* The text of a finding, which is freed; to be freed by the caller. */
static inline char *fixture_text(petar_finding *finding) {
    size_t size = 0;
    fixture_require(petar_finding_text(finding, NULL, &size), "finding");
    char *text = malloc(size);
    if (text == NULL) exit(2);
    fixture_require(petar_finding_text(finding, text, &size), "finding");
    petar_finding_free(finding);
    return text;
}

static inline char *fixture_describe(petar_session *session, const fixture *f, const petar_describe_params *params) {
    petar_finding *finding;
    fixture_require(petar_describe(session, &f->exam, params, &finding), "describe");
    return fixture_text(finding);
}

#endif
