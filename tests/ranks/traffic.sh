#!/usr/bin/env bash
# Bytes on the wire, counted from outside (count_mpi.c): per step and rank 2 (N-1)/N P for ddp and zero2 (P: the gradients' bytes,
# and as many for the parameters), within 1 %; for zero3 at most 3 (N-1)/N P, since the last unit is gathered once for forward and
# backward. The difference of a longer and a shorter run is the steps' own.
. "$COATI_SRC/tests/ranks/lib.sh"
count() { # count N STRATEGY STEPS: bytes rank 0 sent
  COUNT_MPI=$work/count LD_PRELOAD=$COUNT_MPI_SO "$run" -q --nproc "$1" train.ini run.output=t strategy.name="$2" batch.accumulation=1 \
    run.max_steps="$3" run.save_model=0 checkpoint.every=never log.samples=0 >&2 || return 1
  cp t/prediction.json "prediction.$1.$2"; rm -rf t; cut -d' ' -f1 "$work/count.0"
}
p=$("$run" --plan train.ini 2>/dev/null | awk '$1 == "gradients" { print $2 }')
close() { # close WHAT GOT WANT
  awk -v g="$2" -v w="$3" 'BEGIN { d = g / w - 1; printf "%s of %s bytes\n", g, w; exit !(d < 0.01 && d > -0.01) }' || { echo "$1: $2 bytes, want $3"; return 1; }
}
between() { # between WHAT GOT LEAST MOST
  [ "$2" -ge "$3" ] && [ "$2" -le "$4" ] || { echo "$1: $2 bytes, want $3 to $4"; return 1; }
}
# planned N STRATEGY: what --plan says a rank sends a step, within a machine or between machines of two
planned() { "$run" --plan --nproc "$1" train.ini run.gpus_per_node=2 strategy.name="$2" batch.accumulation=1 2>/dev/null | awk '/^(within a machine|between machines)/ { n += $(NF - 1) } END { printf "%.0f", n }'; }
stored() { grep -o "\"sent_bytes\":{[^}]*" "prediction.$1.$2" | grep -o "\"$3\":[0-9.]*" | cut -d: -f2; } # stored N STRATEGY predicted|measured
for s in "2 ddp 2" "4 ddp 2" "4 zero2 2"; do
  set -- $s
  a=$(count "$1" "$2" 2) b=$(count "$1" "$2" 12)
  check "$2, $1 ranks" close "$2" "$(((b - a) / 10))" "$((p * $3 * ($1 - 1) / $1))"
  check "$2, $1 ranks, as planned" close "$2" "$(((b - a) / 10))" "$(planned "$1" "$2")"
  check "$2, $1 ranks, as stored" close "$2" "$(stored "$1" "$2" measured)" "$(stored "$1" "$2" predicted)"
done
a=$(count 2 zero3 2) b=$(count 2 zero3 12)
check "zero3, 2 ranks" between zero3 "$(((b - a) / 10))" "$((p * 2 / 2))" "$((p * 303 / 200))"
check "zero3, as planned" close zero3 "$(((b - a) / 10))" "$(planned 2 zero3)"
check "zero3, as stored" close zero3 "$(stored 2 zero3 measured)" "$(stored 2 zero3 predicted)"
finish
