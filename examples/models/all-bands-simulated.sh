#!/bin/sh
# all-bands-simulated: ten bands of Sentinel-2 before and after the event, NDVI, slope, curvature and aspect (set c of the
# paper's Table 6). Trained on simulated earthquakes alone. Needs no data; some 30 minutes on two idle cores.
set -eu
out=${1:-runs/models}
for seed in 11 12 13; do
    coslide simulate "$out/simulated-$seed" --size-km 9 --seed $seed
    coslide build "$out/simulated-$seed/event.toml" --out "$out/simulated-$seed.zarr"
done
coslide study transfer "$out/simulated-11.zarr" "$out/simulated-12.zarr" "$out/simulated-13.zarr" --recipe transfer \
    --set inputs.indices=c --steps 600 --out "$out/all-bands-simulated"
python tools/ship_model.py "$out/all-bands-simulated/simulated-earthquake-seed-13-paper/seed-0/model" all-bands-simulated \
    --unseen "$out/all-bands-simulated/study.json" --on "$out/simulated-13.zarr" \
    --command "sh examples/models/all-bands-simulated.sh" \
    --limits "It never saw a real landslide: its scores are on simulated events, and none of them is one on the Earth. \
To try the chain with, or to adapt to labels of a real event."
