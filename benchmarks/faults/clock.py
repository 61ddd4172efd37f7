"""A clock that can be put: a library loaded before all others adds seconds to the time of day."""

import shutil
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
static volatile int64_t *off;
__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("NEXUS_FAULT_CLOCK");
  int file = path ? open(path, O_RDONLY) : -1;
  if (file >= 0) off = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
}
static int64_t by(void) { return off && off != MAP_FAILED ? *off : 0; }
int clock_gettime(clockid_t which, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int done = real(which, at);
  if (which == CLOCK_REALTIME) at->tv_sec += by();
  return done;
}
int gettimeofday(struct timeval *at, void *zone) {
  static int (*real)(struct timeval *, void *);
  if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
  int done = real(at, zone);
  at->tv_sec += by();
  return done;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""


def build_clock(place: Path) -> dict[str, str] | None:
    """The environment that puts the clock by the file ``place/clock``; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    (place / "clock").write_bytes(bytes(8))
    (place / "clock.c").write_text(SOURCE)
    library = place / "clock.so"
    words = [
        compiler,
        "-shared",
        "-fPIC",
        "-O1",
        "-o",
        str(library),
        str(place / "clock.c"),
        "-ldl",
    ]
    subprocess.run(words, check=True)
    return {"LD_PRELOAD": str(library), "NEXUS_FAULT_CLOCK": str(place / "clock")}
