#!/bin/sh
# A call by hand: ./call.sh carol@example%2Ecom alice@example%2Ecom words /count 'one two three'
set -eu
id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
now=$(date +%s)000

# The answer comes on a subject that ends in the id, and in which the responder's name stands.
nats sub "responses.$1.$2.$3.$id" --count 1 --raw > answer.txt 2> sub.log &
hearing=$!

# The same id is the same request: sent again until somebody heard the answer.
while kill -0 "$hearing" 2> sub.log; do
  printf 'AUTHSVC/1 request %s %s %s POST %s\r\n\r\n%s' "$id" "$now" $((now + 30000)) "$4" "$5" |
    nats pub "requests.$1.$2.$3" --force-stdin 2> pub.log
  sleep 1
done
tr -d '\r' < answer.txt
