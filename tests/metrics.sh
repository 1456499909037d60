#!/bin/sh
# Tests of what speaks Prometheus' API need a Prometheus and a VictoriaMetrics. Debian's are unpacked (no service is
# installed or started) into build/metrics where there are none and we may; else those tests are skipped.
command -v prometheus > /dev/null && command -v victoria-metrics > /dev/null && exit 0
[ -x build/metrics/usr/bin/prometheus ] && [ -x build/metrics/usr/bin/victoria-metrics ] && exit 0
if command -v apt-get > /dev/null && command -v dpkg > /dev/null; then
  mkdir -p build/metrics && cd build/metrics || exit 0
  fetch() { apt-get download -qq prometheus victoria-metrics > /dev/null 2>&1; }
  fetch || { [ "$(id -u)" = 0 ] && apt-get update -qq > /dev/null 2>&1 && fetch; }
  for package in *.deb; do
    [ -e "$package" ] && dpkg -x "$package" . && rm "$package"
  done
fi
[ -x usr/bin/prometheus ] || echo "there is no Prometheus server: tests of query_range will be skipped" >&2
exit 0
