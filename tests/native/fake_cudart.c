/* A CUDA runtime over the host's memory, for tests where there is no GPU.
 *
 * Device memory is malloc, a stream does its work at once, a graph is a list of what was put on
 * a stream while it was captured. What is allocated and not freed is counted, so that leaks are
 * seen; FAKE_CUDA_FAIL=FUNCTION:CODE makes one function fail, FUNCTION:CODE:N its N-th call from
 * now on only. fakeLaunch puts a call on a stream, as a kernel would be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int error;
typedef void (*kernel)(void *);
enum { SUCCESS = 0, INVALID = 1, NO_DEVICE = 100, BAD_STREAM = 400 };
enum { MEMORY, HOST, STREAM, EVENT, GRAPH, EXEC, KINDS };

typedef struct op { void *to; const void *from; size_t size; kernel call; void *argument; struct op *next; } op;
typedef struct graph { op *first, *last; } graph;
typedef struct stream { graph *captured; } stream;

static long alive[KINDS];
static int devices = 1, integrated = 0;
static double now;
static error last;
static int driver = 12060;

static error fails(const char *function) {
    const char *wanted = getenv("FAKE_CUDA_FAIL");
    size_t length = strlen(function);
    if (wanted == NULL || strncmp(wanted, function, length) != 0 || wanted[length] != ':') return SUCCESS;
    const char *turn = strchr(wanted + length + 1, ':');
    if (turn != NULL) {
        static char counted[128];
        static long calls;
        if (strncmp(counted, wanted, sizeof counted - 1) != 0) {
            strncpy(counted, wanted, sizeof counted - 1);
            calls = 0;
        }
        if (++calls != atol(turn + 1)) return SUCCESS;
    }
    return last = atoi(wanted + length + 1);
}

#define BEGIN(name) do { error code = fails(name); if (code != SUCCESS) return code; } while (0)

long fakeAlive(int kind) { return alive[kind]; }
void fakeMachine(int count, int is_integrated) { devices = count; integrated = is_integrated; }

void fakeDriver(int version) { driver = version; }
error cudaGetLastError(void) { error code = last; last = SUCCESS; return code; }
const char *cudaGetErrorName(error code) {
    return code == 2 ? "cudaErrorMemoryAllocation" : code == NO_DEVICE ? "cudaErrorNoDevice" : "cudaErrorSimulated";
}
const char *cudaGetErrorString(error code) {
    if (code == 2) return "out of memory";
    if (code == NO_DEVICE) return "no CUDA-capable device is detected";
    if (code == 900) return "operation not permitted when stream is capturing";
    return code == SUCCESS ? "no error" : "invalid argument";
}
error cudaRuntimeGetVersion(int *version) { BEGIN("cudaRuntimeGetVersion"); *version = 12060; return SUCCESS; }
error cudaDriverGetVersion(int *version) { *version = driver; return SUCCESS; }
error cudaGetDeviceCount(int *count) {
    BEGIN("cudaGetDeviceCount");
    *count = devices;
    return devices ? SUCCESS : NO_DEVICE;
}
error cudaSetDevice(int device) {
    BEGIN("cudaSetDevice");
    return device >= 0 && device < devices ? SUCCESS : NO_DEVICE;
}
error cudaDeviceGetAttribute(int *value, int attribute, int device) {
    if (device < 0 || device >= devices) return NO_DEVICE;
    *value = attribute == 16 ? 8 : attribute == 18 ? integrated : attribute == 19 ? 1 : attribute == 75 ? 8 : attribute == 76 ? 7 : 0;
    return SUCCESS;
}
error cudaGetDeviceProperties(void *properties, int device) {
    if (device < 0 || device >= devices) return NO_DEVICE;
    strcpy((char *)properties, "Simulated GPU");
    return SUCCESS;
}
error cudaMemGetInfo(size_t *free, size_t *total) { *free = 1 << 29; *total = 1 << 30; return SUCCESS; }

static error allocate(void **address, size_t size, int kind) {
    *address = aligned_alloc(256, (size + 255) / 256 * 256);
    if (*address == NULL) return 2;
    memset(*address, 0xA5, size); /* never zeros: what was not written shows */
    alive[kind]++;
    return SUCCESS;
}
static error release(void *address, int kind) { if (address != NULL) { alive[kind]--; free(address); } return SUCCESS; }

error cudaMalloc(void **address, size_t size) { BEGIN("cudaMalloc"); return allocate(address, size, MEMORY); }
error cudaFree(void *address) { return release(address, MEMORY); }
error cudaHostAlloc(void **address, size_t size, unsigned flags) { BEGIN("cudaHostAlloc"); (void)flags; return allocate(address, size, HOST); }
error cudaFreeHost(void *address) { return release(address, HOST); }
error cudaHostGetDevicePointer(void **device, void *host, unsigned flags) { (void)flags; *device = host; return SUCCESS; }

static void apply(const op *it) {
    if (it->call != NULL) it->call(it->argument);
    else memmove(it->to, it->from, it->size);
}
static error put(stream *on, op what) {
    if (on == NULL || on->captured == NULL) { apply(&what); return SUCCESS; }
    op *kept = malloc(sizeof *kept);
    *kept = what;
    kept->next = NULL;
    if (on->captured->last != NULL) on->captured->last->next = kept; else on->captured->first = kept;
    on->captured->last = kept;
    return SUCCESS;
}
error cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, stream *on) {
    BEGIN("cudaMemcpyAsync");
    (void)kind;
    return put(on, (op){to, from, size, NULL, NULL, NULL});
}
error fakeLaunch(stream *on, kernel call, void *argument) { return put(on, (op){NULL, NULL, 0, call, argument, NULL}); }

error cudaStreamCreateWithFlags(stream **made, unsigned flags) {
    BEGIN("cudaStreamCreateWithFlags");
    (void)flags;
    *made = calloc(1, sizeof **made);
    alive[STREAM]++;
    return SUCCESS;
}
error cudaStreamSynchronize(stream *on) { BEGIN("cudaStreamSynchronize"); return on != NULL && on->captured != NULL ? 900 : SUCCESS; }
error cudaStreamDestroy(stream *on) { return on == NULL ? BAD_STREAM : release(on, STREAM); }

error cudaEventCreate(double **made) { *made = calloc(1, sizeof **made); alive[EVENT]++; return SUCCESS; }
error cudaEventRecord(double *event, stream *on) { (void)on; *event = now += 1.5; return SUCCESS; }
error cudaEventSynchronize(double *event) { return event == NULL ? BAD_STREAM : SUCCESS; }
error cudaEventElapsedTime(float *time_ms, double *start, double *stop) { *time_ms = (float)(*stop - *start); return SUCCESS; }
error cudaEventDestroy(double *event) { return release(event, EVENT); }

error cudaStreamBeginCapture(stream *on, int mode) {
    BEGIN("cudaStreamBeginCapture");
    (void)mode;
    if (on->captured != NULL) return 900;
    on->captured = calloc(1, sizeof(graph));
    alive[GRAPH]++;
    return SUCCESS;
}
error cudaStreamEndCapture(stream *on, graph **made) {
    BEGIN("cudaStreamEndCapture");
    *made = on->captured;
    on->captured = NULL;
    return *made == NULL ? 901 : SUCCESS;
}
error cudaGraphInstantiateWithFlags(graph **exec, const graph *source, unsigned long long flags) {
    BEGIN("cudaGraphInstantiateWithFlags");
    (void)flags;
    stream copy = {calloc(1, sizeof(graph))};
    for (op *it = source->first; it != NULL; it = it->next) put(&copy, *it);
    *exec = copy.captured;
    alive[EXEC]++;
    return SUCCESS;
}
error cudaGraphLaunch(const graph *exec, stream *on) {
    BEGIN("cudaGraphLaunch");
    (void)on;
    for (op *it = exec->first; it != NULL; it = it->next) apply(it);
    return SUCCESS;
}
static void drop(graph *made) {
    for (op *it = made->first, *next; it != NULL; it = next) { next = it->next; free(it); }
}
error cudaGraphDestroy(graph *made) { if (made == NULL) return INVALID; drop(made); return release(made, GRAPH); }
error cudaGraphExecDestroy(graph *made) { if (made == NULL) return INVALID; drop(made); return release(made, EXEC); }
