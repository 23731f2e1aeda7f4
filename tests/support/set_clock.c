/* Preloaded into a server: its clock is the real one and the offset that a file holds.
   Redis and Valkey read their clock by gettimeofday(2) alone; their monotonic clock stays real. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static volatile int64_t *offset_us;

__attribute__((constructor)) static void map_offset(void) {
    int file = open(getenv("SET_CLOCK_FILE"), O_RDONLY);
    offset_us = mmap(NULL, sizeof *offset_us, PROT_READ, MAP_SHARED, file, 0);
    close(file);
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    long result = syscall(SYS_gettimeofday, now, zone);
    if (result == 0 && now && offset_us) {
        int64_t us = (int64_t)now->tv_sec * 1000000 + now->tv_usec + *offset_us;
        now->tv_sec = us / 1000000;
        now->tv_usec = us % 1000000;
    }
    return (int)result;
}
