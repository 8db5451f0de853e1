/* example.c - describes a lesion on a PET/CT exam and writes the finding as it is generated.
 *
 *     cc example.c $(pkg-config --cflags --libs petar) -o example
 *     ./example model.petar pet.nii.gz ct.nii.gz lesion.nii.gz
 *
 * PET in SUV, CT in HU, and a mask in which every voxel that is not 0 belongs to the lesion. Valid C11 and C++.
 * For research use. PETAR is not a medical device.
 */
#include <petar.h>

#include <stdio.h>
#include <stdlib.h>

/* Says what failed. The message is the library's own and ends with what to do about it. */
static int report(const char *what, petar_status status) {
    fprintf(stderr, "%s: %s (%s)\n", what, petar_last_message(), petar_status_name(status));
    return EXIT_FAILURE;
}

/* Called on this thread with each piece of the finding. Only whole characters arrive, so it can be shown at once. */
static void show(void *user_data, const char *text, size_t length, int32_t token) {
    (void)token;
    fwrite(text, 1, length, (FILE *)user_data);
    fflush((FILE *)user_data);
}

/* What nothing fails for but a person should know: "the weights are random", say. */
static void warn(void *user_data, int32_t level, const char *message) {
    (void)user_data, (void)level;
    fprintf(stderr, "warning: %s\n", message);
}

/* Everything that is opened here and freed in main. */
typedef struct opened {
    petar_model *model;
    petar_session *session;
    petar_volume *pet;
    petar_volume *ct;
    petar_volume *mask;
    petar_finding *finding;
} opened;

static int describe(opened *o, char **paths) {
    petar_status status;

    /* 1. The model: mapped from its file, immutable, shared by any number of sessions and threads. */
    status = petar_model_open(paths[0], NULL, &o->model);
    if (status != PETAR_OK) return report("model", status);

    /* 2. The exam. NIfTI does not say what PET values are, so we do. The three may have different grids. For PET in
     *    Bq/mL: PETAR_UNIT_BQML and the factor that turns it into SUV. */
    status = petar_volume_read(paths[1], PETAR_UNIT_SUV, 0, &o->pet);
    if (status != PETAR_OK) return report("PET", status);
    status = petar_volume_read(paths[2], PETAR_UNIT_HU, 0, &o->ct);
    if (status != PETAR_OK) return report("CT", status);
    status = petar_volume_read(paths[3], PETAR_UNIT_LABEL, 0, &o->mask);
    if (status != PETAR_OK) return report("mask", status);

    /* 3. A session: one caller's working memory and threads, as many as there are processors. Parameter structs are
     *    always filled by their _init function first. Its log is told what is to be said of exam and model. */
    petar_session_params session_params;
    petar_session_params_init(&session_params, sizeof session_params);
    session_params.log = warn;
    status = petar_session_create(o->model, &session_params, &o->session);
    if (status != PETAR_OK) return report("session", status);

    /* 4. The description. What is not set keeps its default: the model's own question, greedy decoding. */
    petar_exam exam;
    petar_exam_init(&exam, sizeof exam);
    exam.pet = o->pet;
    exam.ct = o->ct;
    exam.mask = o->mask;

    petar_describe_params params;
    petar_describe_params_init(&params, sizeof params);
    params.on_token = show;
    params.user_data = stdout;
    status = petar_describe(o->session, &exam, &params, &o->finding);
    if (status != PETAR_OK) return report("describe", status);
    printf("\n");

    /* 5. The finding also holds the whole text, the token ids and, as JSON, all there is to know about the run.
     *    Strings come out in two steps: ask for the size, then for the bytes. */
    size_t size = 0;
    status = petar_finding_json(o->finding, NULL, &size);
    if (status != PETAR_OK) return report("finding", status);
    char *json = (char *)malloc(size);
    if (json == NULL) return EXIT_FAILURE;
    status = petar_finding_json(o->finding, json, &size);
    if (status == PETAR_OK) fprintf(stderr, "%s\n", json);
    free(json);
    return status == PETAR_OK ? EXIT_SUCCESS : report("finding", status);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s MODEL.petar PET.nii.gz CT.nii.gz MASK.nii.gz\n", argv[0]);
        return 2;
    }
    opened o = {NULL, NULL, NULL, NULL, NULL, NULL};
    int result = describe(&o, argv + 1);

    /* In any order, and NULL is harmless, so one place is enough. */
    petar_finding_free(o.finding);
    petar_session_free(o.session);
    petar_volume_free(o.mask);
    petar_volume_free(o.ct);
    petar_volume_free(o.pet);
    petar_model_free(o.model);
    return result;
}
