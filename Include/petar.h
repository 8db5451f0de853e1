/* petar.h - describe a lesion on a PET/CT scan, on the hospital's own computers.
 *
 * This header is the specification of libpetar.so: what is not in it is not API.
 * For research use. PETAR is not a medical device.
 *
 * The road an exam takes:
 *
 *     petar_model_open ---> petar_session_create ---> petar_describe ---> petar_finding_text / _json
 *     petar_volume_read (PET, CT, mask) ---------------^
 *
 * Rules that hold for every call
 *   - A call that can fail returns petar_status. On anything but PETAR_OK, petar_last_message() says, for the
 *     calling thread, what was wrong, where, and what to do about it; out-parameters that hand over an object
 *     are set to NULL. What each status means is said at petar_status; a call can return every one that fits it.
 *   - The library never prints, exits, aborts, installs signal handlers, spawns processes or opens sockets.
 *     Its worker threads block all signals. On a processor with AMX the first petar_model_open or petar_build_info
 *     asks Linux for it, for the whole process: signal stacks set up afterwards (sigaltstack) must have at least
 *     sysconf(_SC_SIGSTKSZ) bytes, or Linux refuses them.
 *   - Objects are freed by their own petar_*_free, in any order; each takes NULL. A session keeps its model alive.
 *   - A petar_model and a petar_volume are immutable: any number of threads may use one at once. A petar_session
 *     serves one call at a time: a second one gets PETAR_ERROR_BUSY, never a wrong answer.
 *   - Strings are UTF-8 and NUL-terminated. Arrays and strings come out through (buffer, size): *size is the
 *     capacity on entry and the size needed on return, in elements (for strings: bytes, the NUL included). A NULL
 *     buffer asks for the size. Too small a buffer: PETAR_ERROR_BUFFER_TOO_SMALL, *size set, nothing written.
 *   - A params struct starts with struct_size and is filled by its _init function, called with sizeof. Fields are
 *     only ever appended. A struct from an older header is accepted, with defaults for the fields it does not have;
 *     one from a newer header as long as the fields this library does not know are all zero, otherwise
 *     PETAR_ERROR_UNSUPPORTED.
 *   - The same model file, exam and settings give the same bits, whatever the number of threads, the parallel
 *     runner or the instruction set.
 *   - Callbacks run on the thread that made the call, never on a worker. They may call petar_session_cancel and
 *     nothing else of the same session. They must return normally (no longjmp, no C++ exception).
 *
 * Everything here has been there since 0.1.0 unless said otherwise.
 */
#ifndef PETAR_H
#define PETAR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number in the soname (libpetar.so.0). It grows when a program built against an older header would break. */
#define PETAR_ABI_VERSION 0

/* ---- Status ------------------------------------------------------------------------------------------------ */

/* The values are pinned; the gaps are for values to come, so treat an unknown one as a failure. */
typedef enum petar_status {
    PETAR_OK = 0,
    PETAR_ERROR_INVALID_ARGUMENT = 10, /* NULL or out-of-range argument; the caller's mistake */
    PETAR_ERROR_BUSY = 11,             /* the session is already in a call */
    PETAR_ERROR_UNSUPPORTED = 12,      /* valid, but this library cannot do it */
    PETAR_ERROR_BUFFER_TOO_SMALL = 13, /* *size says how much is needed */
    PETAR_CANCELLED = 20,              /* petar_session_cancel; tokens already streamed stay valid */
    PETAR_ERROR_OUT_OF_MEMORY = 30,
    PETAR_ERROR_IO = 40,             /* a file cannot be opened or read; the message carries the system's reason */
    PETAR_ERROR_BAD_FILE = 41,       /* not a .petar file, truncated, or inconsistent */
    PETAR_ERROR_CHECKSUM = 42,       /* a .petar file whose content does not match its checksums */
    PETAR_ERROR_FILE_VERSION = 43,   /* a .petar file of a format version this library does not know */
    PETAR_ERROR_BAD_VOLUME = 50,     /* not NIfTI, truncated, wrong voxel type, NaN, too large, not 3-D */
    PETAR_ERROR_BAD_GEOMETRY = 51,   /* no or singular affine; PET and CT that do not overlap */
    PETAR_ERROR_BAD_UNIT = 52,       /* PET that is not SUV, a unit that does not fit the role of the volume */
    PETAR_ERROR_EMPTY_MASK = 53,     /* no voxel of the lesion (or of the label asked for) in the mask */
    PETAR_ERROR_MASK_OUTSIDE = 54,   /* the lesion lies outside the PET field of view or the model's view, or in the
                                        slices above the head that the model's preprocessing drops */
    PETAR_ERROR_BAD_TEXT = 60,       /* invalid UTF-8, a token id outside the vocabulary, a question that contains the
                                        image token */
    PETAR_ERROR_CONTEXT_FULL = 61,   /* prompt and answer do not fit the model's context; text of more than 4 MiB */
    PETAR_ERROR_NOT_FINITE = 62,     /* the network produced NaN or infinity: the model file is damaged */
    PETAR_ERROR_INTERNAL = 90        /* a defect of this library; please report the message */
} petar_status;

/* The name of a status ("PETAR_ERROR_BUSY"), or "unknown status". Static storage. */
const char *petar_status_name(petar_status status);

/* What the last failing call on this thread said; "" if none failed yet. Thread-local storage, valid until the
 * next petar call on this thread. At most 1023 bytes. */
const char *petar_last_message(void);

/* ---- Version ----------------------------------------------------------------------------------------------- */

/* "0.1.0". Static storage. */
const char *petar_version(void);

/* One JSON object: version, abi, instruction sets of this machine and the one chosen by default, zlib, zstd. */
petar_status petar_build_info(char *buffer, size_t *size);

/* ---- Callbacks --------------------------------------------------------------------------------------------- */

/* Pieces of the finding as they are written. text holds whole UTF-8 characters only and is NUL-terminated;
 * length is its byte count (0 while a character is still incomplete). token is the id just generated, or -1 for
 * the end of an unfinished byte sequence. */
typedef void (*petar_token_fn)(void *user_data, const char *text, size_t length, int32_t token);

/* Long work: stage is "prepare", "encode", "prefill" or "decode"; fraction grows from 0 to 1 within each. */
typedef void (*petar_progress_fn)(void *user_data, const char *stage, double fraction);

/* What a person should know but no call fails for. level: 1, a warning. */
typedef void (*petar_log_fn)(void *user_data, int32_t level, const char *message);

/* A host's own thread pool. It must call run(task, i) exactly once for every i in [0, count), on any threads, and
 * return only after all of them have returned. */
typedef void (*petar_task_fn)(void *task, size_t index);
typedef void (*petar_parallel_fn)(void *user_data, void *task, petar_task_fn run, size_t count);

/* ---- Model ------------------------------------------------------------------------------------------------- */

typedef struct petar_model petar_model;

typedef struct petar_model_params {
    size_t struct_size;
    const char *isa;       /* force an instruction set: "scalar"; "avx2", "avxvnni", "avx512vnni", "amx" on x86-64;
                              "neon" (with dot product) on aarch64. NULL: PETAR_ISA from the environment, else the
                              best this machine has. Unknown or absent ones are refused. */
    int32_t verify;        /* not 0: compare every tensor with its checksum before returning (reads the file) */
    petar_log_fn log;      /* may be NULL; is told, once, if the weights are random */
    void *log_user_data;
} petar_model_params;

void petar_model_params_init(petar_model_params *params, size_t struct_size);

/* Opens a .petar file. The file is mapped, not copied: it must not be changed or truncated in place while the
 * model lives (replace it by renaming; petar-convert does). Header, directory and metadata are always checked
 * against their checksums; tensor data only with params->verify. params may be NULL. */
petar_status petar_model_open(const char *path, const petar_model_params *params, petar_model **model);

void petar_model_free(petar_model *model);

typedef struct petar_model_info {
    size_t struct_size;
    int64_t view_shape[3];   /* depth, height, width of a view the vision towers see, e.g. 32 256 256 */
    int64_t vision_tokens;   /* image tokens the decoder sees, e.g. 256 */
    int64_t hidden_size;     /* width of an image token after the projector, e.g. 3072 */
    int64_t vocabulary_size; /* logits for each position */
    int64_t context_size;    /* longest prompt plus answer, in tokens */
    int64_t parameter_count;
} petar_model_info;

/* info->struct_size must be set to sizeof(*info). */
petar_status petar_model_get_info(const petar_model *model, petar_model_info *info);

/* Everything the file says of itself as one JSON object: name, hash (SHA-256 over header, directory and metadata; the
 * first two hold the SHA-256 of tokenizer and tensors), weights type, architecture, prompt, generation defaults,
 * provenance, licence. */
petar_status petar_model_metadata(const petar_model *model, char *buffer, size_t *size);

/* Text to token ids, as the checkpoint's own tokenizer does it. add_bos: begin-of-text first. At most 4 MiB of text. */
petar_status petar_tokenize(const petar_model *model, const char *text, int32_t add_bos, int32_t *ids,
                            size_t *count);

/* Token ids to text. keep_special: write control tokens such as </s> out instead of omitting them.
 * Bytes that form no valid UTF-8 come out as U+FFFD. count <= 4194304. */
petar_status petar_detokenize(const petar_model *model, const int32_t *ids, size_t count, int32_t keep_special,
                              char *buffer, size_t *size);

/* The ids the decoder is given for a question: begin-of-text, one image token for each vision token, the question.
 * question NULL: the model's default question. */
petar_status petar_model_prompt(const petar_model *model, const char *question, int32_t *ids, size_t *count);

/* ---- Volumes ----------------------------------------------------------------------------------------------- */

typedef struct petar_volume petar_volume;

typedef enum petar_data_type {
    PETAR_UINT8 = 1,
    PETAR_INT8 = 2,
    PETAR_INT16 = 3,
    PETAR_UINT16 = 4,
    PETAR_INT32 = 5,
    PETAR_UINT32 = 6,
    PETAR_FLOAT32 = 7,
    PETAR_FLOAT64 = 8
} petar_data_type;

typedef enum petar_unit {
    PETAR_UNIT_SUV = 1,   /* PET, body-weight SUV in g/mL */
    PETAR_UNIT_BQML = 2,  /* PET in Bq/mL; suv_factor turns it into SUV */
    PETAR_UNIT_HU = 3,    /* CT */
    PETAR_UNIT_LABEL = 4  /* mask or label map: whole numbers, 0 is background */
} petar_unit;

typedef struct petar_volume_params {
    size_t struct_size;
    const void *voxels;    /* native byte order, first axis fastest (Fortran order), copied by petar_volume_create */
    size_t voxels_size;    /* bytes; must equal shape[0] * shape[1] * shape[2] * size of data_type */
    int32_t data_type;     /* petar_data_type */
    int64_t shape[3];
    double affine[16];     /* 4 x 4, row by row: voxel index (i, j, k, 1) to millimetres (right, anterior, superior) */
    int32_t unit;          /* petar_unit */
    double suv_factor;     /* PETAR_UNIT_BQML only, > 0: SUV = value * suv_factor, which is body weight in g / injected
                              dose in Bq, decayed to the time that the values are corrected to: the scan's start */
    double slope;          /* value = stored * slope + intercept; init sets 1 and 0 */
    double intercept;
} petar_volume_params;

void petar_volume_params_init(petar_volume_params *params, size_t struct_size);

/* The voxels are copied, and checked: a NaN or infinite value is refused (BAD_VOLUME). */
petar_status petar_volume_create(const petar_volume_params *params, petar_volume **volume);

/* Reads NIfTI-1 or -2: .nii, .nii.gz, .hdr/.img, both byte orders, integer and float voxels, one frame. The affine
 * is the sform if its code is set, else the qform; a file with neither is refused (BAD_GEOMETRY).
 * NIfTI does not say what PET values are, so the caller does: unit and, for PETAR_UNIT_BQML, suv_factor. */
petar_status petar_volume_read(const char *path, int32_t unit, double suv_factor, petar_volume **volume);

void petar_volume_free(petar_volume *volume);

/* The distinct labels (> 0) of a PETAR_UNIT_LABEL volume, ascending. */
petar_status petar_volume_labels(const petar_volume *volume, int32_t *labels, size_t *count);

/* ---- Session ----------------------------------------------------------------------------------------------- */

typedef struct petar_session petar_session;

typedef struct petar_session_params {
    size_t struct_size;
    int32_t threads;             /* 0: as many as there are processors that this process may use. At most 1024. */
    petar_parallel_fn parallel;  /* NULL: the library's own threads; else `threads` tasks at a time go through it */
    void *parallel_user_data;
    petar_log_fn log;            /* may be NULL; is told of each exam, before its first token, what petar_finding_json
                                    lists as warnings: the exam's own, and that the model's weights are random */
    void *log_user_data;
} petar_session_params;

void petar_session_params_init(petar_session_params *params, size_t struct_size);

/* params may be NULL. */
petar_status petar_session_create(petar_model *model, const petar_session_params *params, petar_session **session);

/* Must not be called while another thread is inside a call on this session. */
void petar_session_free(petar_session *session);

/* From any thread, and from callbacks: the call now running on the session returns PETAR_CANCELLED within one
 * layer's time; on_token is not called any more, on_progress at most once, and once for each lesion of a batch that had
 * finished. Without a running call it does nothing. The session stays usable. NULL is harmless. */
void petar_session_cancel(petar_session *session);

/* ---- Describe ---------------------------------------------------------------------------------------------- */

typedef enum petar_ct_outside {
    PETAR_CT_OUTSIDE_RELEASED = 0, /* 0 HU, as the released PETAR-4B preprocessing does */
    PETAR_CT_OUTSIDE_AIR = 1       /* -1000 HU: for a CT that does not cover the PET */
} petar_ct_outside;

/* One lesion of one exam. The volumes are borrowed for the length of the call. PET, CT and mask may have different
 * grids: CT (linear) and mask (nearest) are resampled onto the PET grid. */
typedef struct petar_exam {
    size_t struct_size;
    const petar_volume *pet;  /* PETAR_UNIT_SUV or PETAR_UNIT_BQML */
    const petar_volume *ct;   /* PETAR_UNIT_HU */
    const petar_volume *mask; /* PETAR_UNIT_LABEL */
    int32_t label;            /* the lesion's label in mask; 0: every label > 0 is the lesion */
    int32_t ct_outside;       /* petar_ct_outside: what CT is taken to be outside its field of view */
} petar_exam;

void petar_exam_init(petar_exam *exam, size_t struct_size);

typedef struct petar_describe_params {
    size_t struct_size;
    const char *question;     /* NULL: the model's default question */
    int32_t max_tokens;       /* 0: the model's default (256 for PETAR-4B) */
    float temperature;        /* 0: greedy */
    float top_p;              /* nucleus sampling in (0, 1], used only when temperature > 0 */
    uint64_t seed;            /* used only when temperature > 0 */
    petar_token_fn on_token;  /* may be NULL */
    petar_progress_fn on_progress; /* may be NULL */
    void *user_data;
} petar_describe_params;

void petar_describe_params_init(petar_describe_params *params, size_t struct_size);

typedef struct petar_finding petar_finding;

/* Describes one lesion. params may be NULL. */
petar_status petar_describe(petar_session *session, const petar_exam *exam, const petar_describe_params *params,
                            petar_finding **finding);

void petar_finding_free(petar_finding *finding);

/* The text of the finding. */
petar_status petar_finding_text(const petar_finding *finding, char *buffer, size_t *size);

/* The generated ids, the end-of-text token left out. */
petar_status petar_finding_tokens(const petar_finding *finding, int32_t *ids, size_t *count);

/* One JSON object: finding, tokens, question, stop_reason ("end_of_text" or "max_tokens"), decoder_passes (fewer
 * than tokens where several were guessed right at once), settings, timings_s
 * {load, prepare, encode, prefill, decode}, geometry, model, library, notice, warnings. */
petar_status petar_finding_json(const petar_finding *finding, char *buffer, size_t *size);

/* ---- Many lesions ------------------------------------------------------------------------------------------ */

/* A lesion of petar_describe_batch has finished. PETAR_OK: finding is the receiver's, to be freed with
 * petar_finding_free. Otherwise finding is NULL and message says what was wrong; it is valid during the call. */
typedef void (*petar_finding_fn)(void *user_data, size_t index, petar_status status, const char *message,
                                 petar_finding *finding);

typedef struct petar_batch_params {
    size_t struct_size;
    int32_t width;               /* lesions written side by side, 1 to 16; 0: 8. More are faster and take more memory:
                                    keys and values, 0.1 GB each for an answer of 256 tokens of PETAR-4B */
    petar_finding_fn on_finding; /* required */
    void *user_data;             /* of on_finding */
} petar_batch_params;

void petar_batch_params_init(petar_batch_params *params, size_t struct_size);

/* Describes count lesions (at most 1048576), of one exam or of several, all with the same params (may be NULL). The
 * decoder fetches its weights once for all lesions that are side by side, so that many take much less time than one by
 * one, and each gets the text that it would get alone, bit for bit. Neighbours in exams share the preparation of one PET
 * and CT, and a tower's pass over the same whole view of the CT: lesions at one height, or of a scan of up to 24 cm.
 * on_finding is called exactly once for each index below count, in the order in which they end. What fails for one
 * lesion stops none of the others.
 * params->on_token must be NULL; on_progress counts all lesions together. exams[i].struct_size is the same for all.
 * Returns PETAR_OK when all lesions were described, PETAR_CANCELLED if it was cancelled, otherwise the status and
 * message of the first lesion that failed. A call that is refused (an invalid argument or question, PETAR_ERROR_BUSY)
 * never calls on_finding. */
petar_status petar_describe_batch(petar_session *session, const petar_exam *exams, size_t count,
                                  const petar_describe_params *params, const petar_batch_params *batch);

/* ---- Step by step ------------------------------------------------------------------------------------------ */

/* The six arrays the network sees: PET (SUV 0..12 scaled to 0..1), mask (0 or 1), CT (-300..400 HU scaled to 0..1),
 * each of view_shape (z, y, x; x fastest), for the global and for the focal view. */
typedef struct petar_views petar_views;

typedef enum petar_view_array {
    PETAR_VIEW_PET = 0,
    PETAR_VIEW_MASK = 1,
    PETAR_VIEW_CT = 2,
    PETAR_VIEW_PET_FOCAL = 3,
    PETAR_VIEW_MASK_FOCAL = 4,
    PETAR_VIEW_CT_FOCAL = 5
} petar_view_array;

petar_status petar_prepare(petar_session *session, const petar_exam *exam, petar_views **views);

void petar_views_free(petar_views *views);

petar_status petar_views_array(const petar_views *views, int32_t which, float *buffer, size_t *count);

/* What was done to the grids: one JSON object, the `geometry` of petar_finding_json. Boxes are {lower, upper, lower_mm,
 * upper_mm}, in voxels of the model's 3 mm grid and in mm (right, anterior, superior), both ends included.
 *     pet, ct, mask        shape, spacing_mm, axes, data_type, unit, resampled_onto_pet
 *     ct_outside_hu
 *     head_crop_slices     PET slices above the head that were dropped
 *     grid_mm, grid_shape, grid_origin_mm
 *     crop, pad            lower, upper: voxels cut off and filled in
 *     global_slices        first and last of the global view
 *     focal_box            a box
 *     views                global, focal: box, mask_voxels
 *     lesion               label, voxels, voxels_on_pet_grid, volume_ml, volume_share, centroid_mm */
petar_status petar_views_geometry(const petar_views *views, char *buffer, size_t *size);

/* Vision tokens: vision_tokens x hidden_size floats, token by token. */
petar_status petar_encode(petar_session *session, const petar_views *views, float *tokens, size_t *count);

/* Next-token logits. ids is the whole sequence (see petar_model_prompt); its image tokens are replaced, in order,
 * by the rows of vision: vision_count floats, hidden_size for each image token (NULL and 0 if ids has none). Writes
 * `last` rows of vocabulary_size floats: the logits after each of the last `last` positions. */
petar_status petar_logits(petar_session *session, const float *vision, size_t vision_count, const int32_t *ids,
                          size_t id_count, size_t last, float *logits, size_t *count);

#ifdef __cplusplus
}
#endif

#endif /* PETAR_H */
