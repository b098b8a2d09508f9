/* Runs a fuzzer's inputs without libFuzzer: each file that is named, and each file of each folder
 * that is named. Fails if there was none. */
#include "contract.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static size_t inputs;

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(1 << 20);
    size_t size;
    if (file == NULL || data == NULL) {
        contract_breach("%s cannot be read", path);
    }
    size = fread(data, 1, 1 << 20, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    inputs++;
}

static void run(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort), i;
    if (count < 0) {
        run_file(path);
        return;
    }
    for (i = 0; i < count; i++) {
        char inside[4096];
        snprintf(inside, sizeof(inside), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            run_file(inside);
        }
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    int i;
    LLVMFuzzerInitialize(&argc, &argv);
    for (i = 1; i < argc; i++) {
        run(argv[i]);
    }
    printf("%zu inputs\n", inputs);
    return inputs == 0;
}
