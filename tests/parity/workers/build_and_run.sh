#!/bin/sh
# Build worker.c for float32 or float64, and run it: build_and_run.sh DTYPE FOLDER.
set -e
real=float
[ "$1" = float64 ] && real=double
cc -O2 -DREAL=$real "$(dirname "$0")/worker.c" -o "$2/worker" -lm
exec "$2/worker" "$2"
