#!/bin/sh
# PostgreSQL for the tests of a shared memory, from Debian's packages, where that is possible. Where it is not, those
# tests are skipped and say so: this script never fails.
command -v initdb >/dev/null && exit 0
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "PostgreSQL is not installed, and cannot be from here: the tests that need it will be skipped"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { timeout 120 apt-get update -qq && timeout 240 apt-get install -y -qq --no-install-recommends postgresql; } >/dev/null
then
    echo "PostgreSQL could not be installed with apt-get: the tests that need it will be skipped"
fi
exit 0
