#!/bin/sh
# The dashboard's tests need a browser. Debian's is installed where there is none and we may; else they are skipped.
for name in chromium chromium-browser google-chrome chrome; do
  command -v "$name" > /dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  install() { DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium > /dev/null 2>&1; }
  install || { apt-get update -qq > /dev/null 2>&1; install; }
fi
command -v chromium > /dev/null || echo "there is no Chromium: the dashboard's tests in a browser will be skipped" >&2
exit 0
