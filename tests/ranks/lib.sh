# lib.sh: what the scripts here share: tests/e2e/lib.sh's tiny run, cut so that every step has 16 samples, and many ranks.
. "$COATI_SRC/tests/e2e/lib.sh"
export OMP_NUM_THREADS=1
cd "$work" || exit 1
sed -i 's/^max_records = .*/max_records = 48/' train.ini # 3 steps an epoch
values() { grep -o "\"$2\":[-0-9.e+]*" "$1/metrics.jsonl" | cut -d: -f2; }
ranks() { # ranks N STRATEGY OUTPUT [section.key=value…]: the global batch stays 16 whatever N is; size 4
  local n=$1 strategy=$2 out=$3; shift 3
  "$run" -q --nproc "$n" train.ini run.output="$out" strategy.name="$strategy" batch.accumulation=$((4 / n)) "$@"
}
alone() { # alone OUTPUT [section.key=value…]: the same steps by one rank without a launcher
  local out=$1; shift
  "$run" -q train.ini run.output="$out" batch.accumulation=4 "$@"
}
close_losses() { # close_losses A B: every loss within 2e-6, relative
  paste <(values "$1" loss) <(values "$2" loss) | awk '{ d = $1 - $2; if (d < 0) d = -d; if (NF != 2 || d > 2e-6 * $1) { print "step " NR ": " $1 ", " $2; bad = 1 } } END { exit bad || NR == 0 }'
}
