/* A worker in C, after docs/parity-protocol.md alone; build: cc -O2 -DREAL=float worker.c -o worker -lm
   Fully connected models, not tied; standard and denoising; SGD, momentum, Nesterov, Adam, AdamW. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef struct { char name[64]; int rank; long shape[4], size; REAL *data, *gradient, *first, *second; } Tensor;
typedef struct { int count; Tensor item[64]; } Table;
typedef struct { Tensor *weight, *bias; char function; long inputs, outputs; REAL *x, *y, *up; } Dense;
static Table weights, sent; static Dense layers[64], *last;
static int steps, is_sgd, nesterov; static double rate, momentum, epsilon, decay;
static char *prepared; /* the line of the last prepare */
static FILE *head, *body; /* of reply.safetensors */
/* ---- JSON: p points at a value; commas and colons count as blanks ---- */
static const char *blank(const char *p) { return p + strspn(p, " \t\r\n,:"); }
static int is(const char *p, const char *word) { return !strncmp(p, word, strlen(word)); }
static const char *skip(const char *p) {
    int depth = 0;
    do {
        if (*(p = blank(p)) == '"') { for (p++; *p != '"'; p++) p += *p == '\\'; p++; }
        else if (strchr("{[}]", *p)) depth += *p == '{' || *p == '[' ? 1 : -1, p++;
        else p += strcspn(p, " ,]}\r\n");
    } while (depth);
    return blank(p);
}
static const char *get(const char *p, const char *key) { /* a member's value, or an empty text */
    for (p = blank(p + 1); *p == '"'; p = skip(skip(p)))
        if (is(p + 1, key) && p[1 + strlen(key)] == '"') return skip(p);
    return "";
}
static const char *element(const char *p, int index) { /* of an array, or NULL */
    for (p = blank(p + 1); *p != ']'; p = skip(p)) if (!index--) return p;
    return NULL;
}
/* ---- safetensors ---- */
static Tensor *find(Table *table, const char *layer, const char *part) {
    char name[64];
    snprintf(name, sizeof name, "%.*s%s", (int)strcspn(layer, "\""), layer, part);
    for (int i = 0; i < table->count; i++) if (!strcmp(table->item[i].name, name)) return &table->item[i];
    return NULL;
}
static void read_table(Table *table) {
    static char bytes[1 << 26]; /* the longest request */
    FILE *file = fopen("request.safetensors", "rb");
    if (!fread(bytes, 1, sizeof bytes, file) || fclose(file)) exit(1);
    while (table->count) free(table->item[--table->count].data);
    for (const char *p = blank(bytes + 9), *about; *p == '"'; p = skip(skip(p))) {
        if (is(p, "\"__metadata__")) continue;
        Tensor *t = &table->item[table->count++];
        snprintf(t->name, sizeof t->name, "%.*s", (int)strcspn(p + 1, "\""), p + 1);
        const char *shape = get(about = skip(p), "shape"), *offsets = get(about, "data_offsets"), *number;
        const char *from = bytes + 8 + *(long *)bytes + atol(element(offsets, 0));
        for (t->rank = 0, t->size = 1; (number = element(shape, t->rank)); t->rank++) t->size *= t->shape[t->rank] = atol(number);
        t->data = calloc(4 * t->size, sizeof(REAL)); /* and room for the gradient and two moments */
        t->gradient = t->data + t->size, t->first = t->gradient + t->size, t->second = t->first + t->size;
        for (long i = 0; i < t->size; i++) t->data[i] = is(get(about, "dtype"), "\"F32") ? ((float *)from)[i] : ((double *)from)[i];
    }
}
static void answer(const char *kind, const char *name, const Tensor *like, const REAL *data) {
    long start = ftell(body), end = start + like->size * sizeof(REAL);
    fprintf(head, "%s\"%s%s\":{\"dtype\":\"F%d\",\"shape\":", start ? "," : "{", kind, name, (int)sizeof(REAL) * 8);
    for (int k = 0; k < like->rank; k++) fprintf(head, "%c%ld", k ? ',' : '[', like->shape[k]);
    fprintf(head, "],\"data_offsets\":[%ld,%ld]}", start, end);
    fwrite(data, sizeof(REAL), like->size, body);
}
/* ---- the model: a Dense layer and its activation are one; y is the value after the activation ---- */
static void forward(REAL *x, long images) {
    for (Dense *l = layers; l <= last; x = l++->y) {
        l->x = x, l->y = realloc(l->y, sizeof(REAL) * images * l->outputs), l->up = realloc(l->up, sizeof(REAL) * images * l->outputs);
        for (long i = 0; i < images * l->outputs; i++) {
            REAL z = l->bias ? l->bias->data[i % l->outputs] : 0, *row = l->weight->data + i % l->outputs * l->inputs;
            for (long k = 0; k < l->inputs; k++) z += x[i / l->outputs * l->inputs + k] * row[k];
            l->y[i] = l->function == 'r' ? (z > 0 ? z : 0) : l->function == 's' ? 1 / (1 + exp(-z)) : l->function == 't' ? tanh(z) : z;
        }
    }
}
static double loss_and_gradients(const REAL *targets, long count) {
    REAL sum = 0;
    for (long i = 0; i < count; i++)
        last->up[i] = last->y[i] - targets[i], sum += last->up[i] * last->up[i], last->up[i] *= (REAL)2 / count;
    for (int i = 0; i < weights.count; i++) memset(weights.item[i].gradient, 0, sizeof(REAL) * weights.item[i].size);
    for (Dense *l = last; l >= layers; l--) {
        REAL *down = l > layers ? memset(l[-1].up, 0, sizeof(REAL) * count / last->outputs * l->inputs) : NULL;
        for (long i = 0; i < count / last->outputs * l->outputs; i++) {
            REAL y = l->y[i], up = l->up[i] * (l->function == 'r' ? y > 0 : l->function == 's' ? y * (1 - y) : l->function == 't' ? 1 - y * y : 1);
            long row = i % l->outputs * l->inputs, image = i / l->outputs * l->inputs;
            if (l->bias) l->bias->gradient[i % l->outputs] += up;
            for (long k = 0; k < l->inputs; k++) l->weight->gradient[row + k] += up * l->x[image + k];
            for (long k = 0; down && k < l->inputs; k++) down[image + k] += up * l->weight->data[row + k];
        }
    }
    return sum / count;
}
static void update(Tensor *t) {
    for (long i = 0; i < t->size; i++) {
        REAL g = t->gradient[i], *m = &t->first[i], *v = &t->second[i];
        *m = is_sgd ? momentum * *m + g : 0.9 * *m + 0.1 * g, *v = 0.999 * *v + 0.001 * g * g;
        REAL adam = *m / (1 - pow(0.9, steps)) / (sqrt(*v / (1 - pow(0.999, steps))) + epsilon);
        t->data[i] = t->data[i] * (1 - rate * decay) - rate * (!is_sgd ? adam : nesterov ? momentum * *m + g : *m);
    }
}
static int prepare(const char *request) { /* whether all of it is supported */
    const char *about = get(request, "case"), *model = get(about, "model"), *recipe = get(request, "recipe");
    is_sgd = is(get(recipe, "optimizer"), "\"sgd"), nesterov = is(get(recipe, "nesterov"), "true");
    momentum = atof(get(recipe, "momentum")), epsilon = atof(get(recipe, "epsilon")), decay = atof(get(recipe, "weight_decay"));
    return is(get(about, "dtype"), sizeof(REAL) == 4 ? "\"float32" : "\"float64") && is(get(model, "kind"), "\"FullyConnected")
        && is(get(model, "tied"), "false") && !strstr(model, "\"silu\"") && !is(get(recipe, "objective"), "\"contractive");
}
static void load(const char *list, const char *l) {
    read_table(&weights), steps = 0, rate = atof(get(get(prepared, "recipe"), "learning_rate"));
    for (int i = 0; (l = element(list, i)); i++) {
        last = &layers[i / 2]; /* Dense, Activation, Dense, Activation, ... */
        if (i % 2) { last->function = get(l, "function")[1]; continue; }
        last->inputs = atol(get(l, "inputs")), last->outputs = atol(get(l, "outputs"));
        last->weight = find(&weights, get(l, "name") + 1, ".weight"), last->bias = find(&weights, get(l, "name") + 1, ".bias");
    }
}
static void call(const char *method, const char *line) {
    double loss = 0; char *bytes[2]; size_t size[2];
    head = open_memstream(&bytes[0], &size[0]), body = open_memstream(&bytes[1], &size[1]);
    if (is(method, "load")) load(get(get(get(prepared, "case"), "model"), "layers"), NULL);
    if (is(method, "set_learning_rate")) rate = atof(get(line, "number"));
    if (is(method, "activations") || is(method, "loss") || is(method, "step")) {
        read_table(&sent);
        Tensor *inputs = find(&sent, "inputs", ""), *targets = find(&sent, "targets", "");
        forward(inputs->data, inputs->shape[0]);
        if (targets) loss = loss_and_gradients(targets->data, targets->size);
        else answer("", "output", inputs, last->y);
    }
    steps += is(method, "step");
    for (Tensor *t = weights.item; t < weights.item + weights.count; t++) {
        if (is(method, "step")) update(t);
        if (is(method, "weights")) answer("", t->name, t, t->data);
        if (is(method, "loss_and_gradients")) answer("", t->name, t, t->gradient);
        if (is(method, "optimizer_state") && (momentum || !is_sgd)) answer(is_sgd ? "momentum/" : "first_moment/", t->name, t, t->first);
        if (is(method, "optimizer_state") && !is_sgd) answer("second_moment/", t->name, t, t->second);
    }
    fprintf(head, ftell(body) ? "}" : "{}"), fclose(head), fclose(body);
    FILE *file = fopen("reply.safetensors", "wb");
    fwrite(size, 8, 1, file), fwrite(bytes[0], 1, size[0], file), fwrite(bytes[1], 1, size[1], file), fclose(file);
    free(bytes[0]), free(bytes[1]), printf(isfinite(loss) ? "{\"number\": %.17g}\n" : "{\"number\": \"NaN\"}\n", loss);
}
int main(int count, char **words) {
    char *line = NULL;
    for (size_t room = 0, missing = chdir(words[count - 1]); !missing && getline(&line, &room, stdin) > 0; fflush(stdout))
        if (is(get(line, "do"), "\"call")) call(get(line, "method") + 1, line);
        else puts(prepare(prepared = strdup(line)) ? "{}" : "{\"error\": \"not supported: this model, objective or dtype\"}");
}
