// A WASI command that does what its first argument says, and tells errno if it can't.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int failed(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    return 1;
}

static int show(const char *path) {
    char text[4096];
    FILE *file = fopen(path, "r");
    if (!file) return failed(path);
    size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    fwrite(text, 1, size, stdout);
    return 0;
}

static int put(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (!file) return failed(path);
    fputs(text, file);
    return fclose(file) ? failed(path) : 0;
}

static int copy(void) {
    static char block[65536];
    ssize_t size;
    while ((size = read(0, block, sizeof block)) > 0)
        for (ssize_t at = 0, wrote; at < size; at += wrote)
            if ((wrote = write(1, block + at, size - at)) < 0) return 2;
    return size < 0;
}

static int everything(int count, char **words) {
    char line[64];
    for (int at = 2; at < count; at++) printf("argument %s\n", words[at]);
    const char *mode = getenv("MODE"), *home = getenv("HOME");
    printf("MODE %s, HOME %s\n", mode ? mode : "unset", home ? home : "unset");
    while (fgets(line, sizeof line, stdin)) printf("line %s", line);
    if (show("data/in.txt") || put("data/out.txt", "written inside\n")) return 1;
    fprintf(stderr, "on standard error\n");
    return 42;
}

static int flood(long mebibytes) {
    static char block[65536];
    memset(block, 'x', sizeof block);
    for (long at = 0; at < mebibytes * 16; at++)
        if (fwrite(block, 1, sizeof block, stdout) != sizeof block) return 2;
    return 0;
}

static int clocks(void) {
    struct timespec wall, steady;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &steady);
    printf("%lld.%09ld %lld\n", (long long)wall.tv_sec, wall.tv_nsec, (long long)steady.tv_sec);
    return 0;
}

static int numbers(void) {
    unsigned char bytes[16];
    if (getentropy(bytes, sizeof bytes)) return failed("getentropy");
    for (int at = 0; at < 16; at++) printf("%02x", bytes[at]);
    puts("");
    return 0;
}

#define must(what) if (!(what)) return failed(#what)

// What programs do with a folder: make, rename, link, cut, date, list and remove.
static int files(void) {
    char text[8];
    struct stat stat_of;
    struct timespec dates[2] = {{5, 0}, {6, 0}};
    must(!mkdir("data/sub", 0777) && !put("data/sub/a", "changed"));
    must(!truncate("data/sub/a", 3) && !stat("data/sub/a", &stat_of) && stat_of.st_size == 3);
    must(!rename("data/sub/a", "data/b") && !link("data/b", "data/c") && !symlink("b", "data/d"));
    must(readlink("data/d", text, sizeof text) == 1 && text[0] == 'b');
    must(!utimensat(AT_FDCWD, "data/b", dates, 0));
    must(!stat("data/d", &stat_of) && stat_of.st_mtime == 6);
    int file = open("data/b", O_RDWR | O_APPEND);
    must(file >= 0 && write(file, "more", 4) == 4 && lseek(file, 0, SEEK_END) == 7);
    must(!ftruncate(file, 10) && !fsync(file) && !close(file));
    int names = 0;
    DIR *folder = opendir("data");
    must(folder);
    while (readdir(folder)) names++;
    must(!closedir(folder) && names == 6);
    must(!unlink("data/b") && !unlink("data/c") && !unlink("data/d") && !rmdir("data/sub"));
    must(unlink("data/b") && errno == ENOENT);
    return 0;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "", *path = count > 2 ? words[2] : "";
    if (!strcmp(what, "everything")) return everything(count, words);
    if (!strcmp(what, "copy")) return copy();
    if (!strcmp(what, "flood")) return flood(atol(path));
    if (!strcmp(what, "show")) return show(path);
    if (!strcmp(what, "put")) return put(path, "changed");
    if (!strcmp(what, "remove")) return unlink(path) ? failed(path) : 0;
    if (!strcmp(what, "rename")) return rename(path, words[3]) ? failed(path) : 0;
    if (!strcmp(what, "link")) return symlink(path, words[3]) ? failed(path) : 0;
    if (!strcmp(what, "files")) return files();
    if (!strcmp(what, "clocks")) return clocks();
    if (!strcmp(what, "numbers")) return numbers();
    if (!strcmp(what, "exit")) exit(atoi(path));
    return 99;
}
