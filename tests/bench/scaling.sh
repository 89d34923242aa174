#!/bin/bash
# scaling.sh: comm nccl, strategies over several GPUs, weak scaling, LLaMA-7B under zero3. All GPUs of the machine (N), 2 or more.
#   tests/bench/scaling.sh [SECONDS]   starts nothing new after so many (default 290); OUT: where logs and traces go (a new folder)
# Without GPUs, at toy sizes: BACKEND=cpu N=2 TOY=1 COATI_BIN=build/release/bin tests/bench/scaling.sh
: "${OUT:=$(mktemp -d)}" "${COATI_BIN:=$PWD/build/cuda/bin}" "${COATI_SRC:=$PWD}" "${BACKEND:=cuda}"
LIMIT=${1:-290}; T=$OUT/scaling.txt; : > $T
N=${N:-$(nvidia-smi -L | grep -c '^GPU')}
CT=$COATI_BIN; [ -x "$CT/comm_collectives" ] || CT=$COATI_BIN/../tests
C=$COATI_SRC/tests/bench/configs
export COATI_BIN COATI_SRC OMP_WAIT_POLICY=passive OMP_NUM_THREADS=${OMP_NUM_THREADS:-8} NCCL_NVLS_ENABLE=0 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PYTHONUNBUFFERED=1
NL=$(python3 -c 'import nvidia.nccl as m; print(list(m.__path__)[0] + "/lib")' 2>/dev/null); [ -n "$NL" ] && export LD_LIBRARY_PATH=$NL:${LD_LIBRARY_PATH:-}
M="mpirun --allow-run-as-root --oversubscribe --bind-to none --mca mpi_yield_when_idle 1"
say() { echo "$*" | tee -a $T; }
late() { [ $SECONDS -gt $LIMIT ] && { say "$1 skipped at $SECONDS s"; return 0; }; return 1; }
t() { local n=$1 lim=$2 s=$SECONDS rc; shift 2; late $n && return; timeout $lim "$@" >$OUT/n_$n.log 2>&1; rc=$?; say "$n rc $rc $((SECONDS-s)) s $(grep -v '^--' $OUT/n_$n.log | tail -1 | cut -c1-150)"; }
say "$N GPUs: $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1), $(nproc --all) cores"
nvidia-smi topo -m > $OUT/n_topo.log 2>&1

# ---- collectives: right, to the bit; then bandwidth (bus, GB/s a rank), bf16 --------------------------------------------------
k1=nccl k2="nccl ordered" k3=cuda; [ $BACKEND = cpu ] && k1= k2= k3=lazy
t comm_nccl 60 env NCCL_DEBUG=VERSION $M -n $N $CT/comm_collectives $k1
t comm_nccl_ordered 60 $M -n $N $CT/comm_collectives $k2
t comm_mpi_cuda 60 $M -n 2 $CT/comm_collectives $k3
MIB=1024; [ -n "$TOY" ] && MIB=4
o=; [ $BACKEND = cuda ] && o="--set comm.sums=ordered"
t bw_nccl 60 $M -n $N $COATI_BIN/coati-bench --backend $BACKEND --dtype bf16 --collectives $MIB
t bw_ordered 60 $M -n $N $COATI_BIN/coati-bench --backend $BACKEND --dtype bf16 --collectives $MIB $o
cat > $OUT/torch_collectives.py <<'PY'
import os, sys, time, json, torch, torch.distributed as d
d.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
r, n = d.get_rank(), d.get_world_size()
cuda = torch.cuda.is_available()
dev = torch.device("cuda", r) if cuda else torch.device("cpu")
if cuda: torch.cuda.set_device(dev)
sync = torch.cuda.synchronize if cuda else (lambda: None)
mib = 1
while mib <= int(sys.argv[1]):
    e = (mib << 20) // 2
    a = torch.randn(e, device=dev).bfloat16(); b = torch.empty_like(a); p = e // n
    ops = {"reduce_scatter": (1, lambda: d.reduce_scatter_tensor(b[:p], a[:p * n])), "all_gather": (1, lambda: d.all_gather_into_tensor(b[:p * n], a[:p])), "all_reduce": (2, lambda: d.all_reduce(a))}
    for k, (f, op) in ops.items():
        if not cuda and k != "all_reduce": continue
        op(); v = []
        c = 4 if mib >= 64 else 16
        for _ in range(3):
            sync(); d.barrier(); sync(); t = time.perf_counter()
            for _ in range(c): op()
            sync(); v.append((time.perf_counter() - t) / c)
        s = sorted(v)[1]
        if r == 0: print(json.dumps({"case": k, "bytes": mib << 20, "us": 1e6 * s, "bus_gb_s": f * (n - 1) / n * (mib << 20) / s / 1e9}))
    mib *= 4
d.destroy_process_group()
PY
t bw_torch 60 python3 -m torch.distributed.run --standalone --nproc-per-node $N $OUT/torch_collectives.py $MIB
python3 - $OUT <<'PY' | tee -a $T
import json, sys
rows = {}
for col, name in enumerate(("bw_nccl", "bw_ordered", "bw_torch")):
    try: lines = open(f"{sys.argv[1]}/n_{name}.log").read().splitlines()
    except OSError: continue
    for l in lines:
        if l.startswith('{"case'):
            j = json.loads(l); rows.setdefault((j["case"], j["bytes"] >> 20), [None] * 3)[col] = j["bus_gb_s"]
print("bus GB/s            MiB   coati ordered   torch")
for (k, m), v in sorted(rows.items()): print(f"{k:16s} {m:6d} " + " ".join("       -" if x is None else f"{x:8.1f}" for x in v))
PY

# ---- steps --------------------------------------------------------------------------------------------------------------------
S="$C/llama-1.1b.json --seqs 8 --seq-len 2048 --dtype bf16" L="$C/bloom-560m.json --seqs 8 --seq-len 512 --dtype bf16" B="$C/llama-7b.json --seq-len 2048 --dtype bf16" ST=10
[ -n "$TOY" ] && { echo '{"model_type":"llama","hidden_size":64,"intermediate_size":160,"num_hidden_layers":3,"num_attention_heads":4,"vocab_size":300,"max_position_embeddings":128}' > $OUT/toy.json
  S="$OUT/toy.json --seqs 2 --seq-len 32" L=$S B="$OUT/toy.json --seq-len 32" ST=3; }
# line NAME FILE...: tokens/s a GPU of each file's run, and what else is known
line() { local n=$1; shift; python3 - "$n" "$@" <<'PY' | tee -a $T
import json, sys
G = 2**30
for f in sys.argv[2:]:
    try: j = json.loads([l for l in open(f) if l.startswith('{"case')][-1])
    except Exception: print(f"{sys.argv[1]:12s} no result in {f}: {open(f).read()[-300:] if f else ''}".replace("\n", " ")); continue
    c = json.load(open(j["case"][6:])); d, L, V = c.get("hidden_size", c.get("n_embed")), c.get("num_hidden_layers", c.get("n_layer")), c["vocab_size"]
    h = c.get("intermediate_size"); P = V * d * (1 if h is None or c.get("tie_word_embeddings") else 2) + L * (12 * d * d if h is None else d * d * (2 + 2 * c.get("num_key_value_heads", c["num_attention_heads"]) / c["num_attention_heads"]) + 3 * d * h)
    seqlen = int(f.split(".s")[-1].split(".")[0]) if ".s" in f else 2048
    mfu = j["tokens_per_s"] * (6 * P + 6 * L * d * seqlen) / 989e12
    dev = j["device_bytes_all"]; own = f"{min(dev)/G:.2f} to {max(dev)/G:.2f}" if max(dev) else "-"
    print(f"{sys.argv[1]:12s} {j['strategy']:6s} ranks {j['ranks']} tok/s a GPU {j['tokens_per_s']:8.0f}  step {j['step_s']['min']:.4f} {j['step_s']['median']:.4f} {j['step_s']['max']:.4f}  MFU {100*mfu:.1f} %  device GiB a rank {own} planned {j['planned_bytes']/G:.2f}  loss {j['loss']:.4f}")
PY
}
one() { # one NAME CONFIG...: naive on every GPU by itself, all at once
  local n=$1 s=$SECONDS; shift; late one_$n && return
  for ((g = 0; g < N; g++)); do CUDA_VISIBLE_DEVICES=$g timeout 60 $COATI_BIN/coati-bench --backend $BACKEND --strategy naive --steps $ST --config "$@" >$OUT/n_$n.$g.json 2>&1 & done; wait
  line "$n alone" $(ls $OUT/n_$n.?.json)
}
many() { # many NAME STRATEGY LIMIT CONFIG...
  local n=$1 st=$2 lim=$3 rc; shift 3; late ${n}_$st && return
  timeout $lim $M -n $N $COATI_BIN/coati-bench --backend $BACKEND --strategy $st --steps $ST --config "$@" >$OUT/n_${n}_$st.json 2>&1; rc=$?
  [ $rc = 0 ] || say "${n} $st rc $rc"
  line $n $OUT/n_${n}_$st.json
}
one llama1b $S
for s in ddp zero2 zero3; do many llama1b $s 60 $S; done
st=$ST; ST=5
many 7b_s3 zero3 90 $B --seqs 3
ST=$st
t equal 200 env KILLS=2 BACKEND=$BACKEND RANKS=$N STEPS=${STEPS:-50} bash $COATI_SRC/tests/ranks/gpus.sh; grep -E '^(largest|killed|failed|step )' $OUT/n_equal.log | head -20 | tee -a $T
one bloom $L
for s in ddp zero2 zero3; do many bloom $s 60 $L; done
ST=3; for s in ddp zero2 zero3; do many trace $s 40 $S --trace $OUT/n_tr_$s.json; done
python3 - $OUT <<'PY' | tee -a $T
import json, glob, sys
for f in sorted(glob.glob(sys.argv[1] + "/n_tr_*.json")):
    try: ev = [e for e in json.load(open(f)) if e.get("ph") == "X" and e["tid"] >= 1000]
    except Exception as x: print(f, x); continue
    units = sorted((e["ts"], e["ts"] + e["dur"]) for e in ev if e["cat"] == "unit")
    def covered(a, b): return sum(max(0, min(b, y) - max(a, x)) for x, y in units)
    kinds = {}
    for e in ev:
        if e["cat"] != "comm" or e["dur"] < 1: continue
        k = kinds.setdefault(e["name"].split()[0].rstrip(","), [0, 0, 0]); k[0] += 1; k[1] += e["dur"]; k[2] += covered(e["ts"], e["ts"] + e["dur"])
    print("trace", f.split("n_tr_")[-1], f"units {sum(y - x for x, y in units)/1e3:.1f} ms;", "; ".join(f"{n} {c[0]} spans {c[1]/1e3:.1f} ms, {100*c[2]/c[1]:.0f} % beside units" for n, c in kinds.items()))
PY
gzip -f $OUT/n_tr_*.json* 2>/dev/null
ST=4; many 7b_s12c zero3 90 $B --seqs 12 --checkpointing
# ---- the table, weak scaling: N GPUs over the slowest alone ---------------------------------------------------------------------
echo; python3 - $OUT <<'PY' | tee -a $T
import json, glob, sys
def tok(f):
    try: return json.loads([l for l in open(f) if l.startswith('{"case')][-1])["tokens_per_s"]
    except Exception: return None
for m in ("llama1b", "bloom"):
    alone = [x for x in (tok(f) for f in glob.glob(f"{sys.argv[1]}/n_{m}.?.json")) if x]
    if not alone: continue
    for s in ("ddp", "zero2", "zero3"):
        x = tok(f"{sys.argv[1]}/n_{m}_{s}.json")
        if x: print(f"weak scaling {m:8s} {s:6s} {100 * x / min(alone):.1f} % of the slowest GPU alone ({x:.0f} of {min(alone):.0f}), {100 * x / max(alone):.1f} % of the fastest")
PY
say "$SECONDS s"
echo "logs: $OUT"
