/* test_signals.c - what loading, using and unloading libpetar.so leaves of the host process: everything.
 *
 * PETAR_LIBRARY is loaded with dlopen; the functions are found with dlsym, so this program is not linked with it. */
#define _GNU_SOURCE
#include <petar.h>

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int passed, failed;
static FILE *report; /* the terminal, while standard output and error are files */

static void check(bool holds, const char *when, const char *what) {
    if (holds) {
        passed++;
    } else {
        failed++;
        fprintf(report, "failed: %s: %s\n", when, what);
    }
}

/* ---- The process, seen from outside ---- */

static const int signals[] = {SIGSEGV, SIGILL, SIGBUS, SIGABRT, SIGFPE, SIGTRAP, SIGINT, SIGTERM, SIGPIPE};
#define SIGNALS (sizeof signals / sizeof *signals)

/* A shell starts what runs in the background with some of them ignored. */
static void reset_handlers(void) {
    for (size_t i = 0; i < SIGNALS; i++) signal(signals[i], SIG_DFL);
}

static void check_handlers(const char *when) {
    for (size_t i = 0; i < SIGNALS; i++) {
        struct sigaction action;
        sigaction(signals[i], NULL, &action);
        check(action.sa_handler == SIG_DFL, when, strsignal(signals[i]));
    }
}

static int count_threads(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; tasks && (entry = readdir(tasks));) count += entry->d_name[0] != '.';
    if (tasks) closedir(tasks);
    return count;
}

static bool is_mapped(void) {
    char line[4096];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) found = found || strstr(line, "libpetar");
    if (maps) fclose(maps);
    return found;
}

/* ---- Watching the worker threads ---- */

static atomic_bool watching;
static atomic_int workers_seen, workers_unblocked;
static pid_t host_threads[2]; /* main and the watcher: not the library's */

static void inspect_thread(const char *tid) {
    char path[64], line[256];
    unsigned long long blocked;
    snprintf(path, sizeof path, "/proc/self/task/%.20s/status", tid);
    FILE *status = fopen(path, "r"); /* NULL: the thread has ended meanwhile */
    while (status && fgets(line, sizeof line, status)) {
        if (sscanf(line, "SigBlk: %llx", &blocked) != 1) continue;
        unsigned long long wanted = ~0ull;
        /* KILL and STOP cannot be blocked; 32 and 33 are the C library's own. */
        const int never[] = {SIGKILL, SIGSTOP, 32, 33};
        for (int i = 0; i < 4; i++) wanted &= ~(1ull << (never[i] - 1));
        workers_seen++;
        if ((blocked & wanted) != wanted) workers_unblocked++;
    }
    if (status) fclose(status);
}

static void *watch(void *unused) {
    (void)unused;
    host_threads[1] = gettid();
    while (watching) {
        DIR *tasks = opendir("/proc/self/task");
        for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
            pid_t tid = (pid_t)atoi(entry->d_name);
            if (tid > 0 && tid != host_threads[0] && tid != host_threads[1]) inspect_thread(entry->d_name);
        }
        if (tasks) closedir(tasks);
        usleep(500);
    }
    return NULL;
}

/* ---- Using the library ---- */

static const char *setting(const char *name) {
    const char *value = getenv(name);
    if (value == NULL) {
        fprintf(report, "%s is not set\n", name);
        exit(2);
    }
    return value;
}

static void *load(void) {
    void *library = dlopen(setting("PETAR_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(report, "%s\n", dlerror());
        exit(2);
    }
    return library;
}

/* POSIX lets a function pointer be read from what dlsym returns. */
#define FIND(library, function) (*(__typeof__(&function) *)&(void *){dlsym(library, #function)})

static petar_volume *read_volume(void *library, const char *file, petar_unit unit) {
    char path[4096];
    petar_volume *volume = NULL;
    snprintf(path, sizeof path, "%s/%s", setting("PETAR_TEST_EXAM"), file);
    check(FIND(library, petar_volume_read)(path, unit, 0, &volume) == PETAR_OK, "read", path);
    return volume;
}

static void describe(void *library) {
    petar_model *model = NULL;
    petar_session *session = NULL;
    petar_finding *finding = NULL;
    check(FIND(library, petar_model_open)(setting("PETAR_TEST_MODEL"), NULL, &model) == PETAR_OK, "open", "model");
    check_handlers("after petar_model_open");

    petar_exam exam;
    FIND(library, petar_exam_init)(&exam, sizeof exam);
    petar_volume *pet = read_volume(library, "pet.nii.gz", PETAR_UNIT_SUV);
    petar_volume *ct = read_volume(library, "ct.nii.gz", PETAR_UNIT_HU);
    petar_volume *mask = read_volume(library, "lesions.nii.gz", PETAR_UNIT_LABEL);
    exam.pet = pet;
    exam.ct = ct;
    exam.mask = mask;
    exam.label = 1;
    petar_session_params session_params;
    FIND(library, petar_session_params_init)(&session_params, sizeof session_params);
    session_params.threads = 3;
    check(FIND(library, petar_session_create)(model, &session_params, &session) == PETAR_OK, "create", "session");
    petar_describe_params params;
    FIND(library, petar_describe_params_init)(&params, sizeof params);
    params.max_tokens = 4;

    pthread_t watcher;
    watching = true;
    check(pthread_create(&watcher, NULL, watch, NULL) == 0, "describe", "watcher");
    check(FIND(library, petar_describe)(session, &exam, &params, &finding) == PETAR_OK, "describe", "status");
    watching = false;
    pthread_join(watcher, NULL);
    check(workers_seen > 0, "describe", "no worker thread was seen, so nothing was tested");
    check(workers_unblocked == 0, "describe", "a worker thread does not block all signals");
    check_handlers("after petar_describe");

    petar_model *absent = NULL;
    check(FIND(library, petar_model_open)("/nonexistent", NULL, &absent) == PETAR_ERROR_IO, "open", "absent");
    FIND(library, petar_finding_free)(finding);
    FIND(library, petar_session_free)(session);
    FIND(library, petar_volume_free)(pet);
    FIND(library, petar_volume_free)(ct);
    FIND(library, petar_volume_free)(mask);
    FIND(library, petar_model_free)(model);
}

static void check_nothing_left(const char *when) {
    /* A joined thread leaves /proc a moment later. */
    for (int i = 0; i < 200 && count_threads() > 1; i++) usleep(10000);
    check(count_threads() == 1, when, "a thread is left");
    check(!is_mapped(), when, "the library is still mapped");
    check_handlers(when);
}

/* ---- A thread that outlives the library it has used ---- */

static pthread_barrier_t used, unloaded;

static void *fail_and_wait(void *library) {
    petar_model *model = NULL;
    FIND(library, petar_model_open)("/nonexistent", NULL, &model);
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&unloaded);
    return NULL; /* what the thread still holds of the library is destroyed here */
}

static void unload_before_thread_ends(void) {
    pthread_t thread;
    pthread_barrier_init(&used, NULL, 2);
    pthread_barrier_init(&unloaded, NULL, 2);
    void *library = load();
    check(pthread_create(&thread, NULL, fail_and_wait, library) == 0, "thread", "create");
    pthread_barrier_wait(&used);
    dlclose(library);
    pthread_barrier_wait(&unloaded);
    check(pthread_join(thread, NULL) == 0, "thread", "join");
}

int main(void) {
    report = fdopen(dup(STDOUT_FILENO), "w");
    FILE *printed = tmpfile();
    if (report == NULL || printed == NULL) return 2;
    setvbuf(report, NULL, _IONBF, 0);
    dup2(fileno(printed), STDOUT_FILENO);
    dup2(fileno(printed), STDERR_FILENO);
    host_threads[0] = gettid();

    reset_handlers();
    check_handlers("before dlopen");
    void *library = load();
    check_handlers("after dlopen");
    check(count_threads() == 1, "after dlopen", "a thread was started");
    describe(library);
    check(dlclose(library) == 0, "dlclose", "failed");
    check_nothing_left("after dlclose");

    library = load();
    describe(library);
    dlclose(library);
    check_nothing_left("after the second dlclose");

    unload_before_thread_ends();

    fflush(NULL);
    struct stat written;
    fstat(fileno(printed), &written);
    check(written.st_size == 0, "output", "the library wrote to standard output or standard error");
    fprintf(report, "test_signals: %d passed, %d failed\n", passed, failed);
    return failed != 0;
}
