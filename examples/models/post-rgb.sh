#!/bin/sh
# post-rgb: red, green and blue after the event. Trained on Taiwan and Kodagu of Landslide4Sense; Iburi stays unseen.
# COSLIDE_DATA is the folder that holds iburi-2018/ and landslide4sense-rgb/. Some 40 minutes on two idle cores.
set -eu
out=${1:-runs/models}
chips=examples/chips/landslide4sense-rgb.toml
coslide build examples/iburi-2018/event.toml --out "$out/iburi.zarr"
coslide study transfer "$out/iburi.zarr" "$chips#kodagu" --always "$chips#taiwan" --recipe transfer --members 2 --set runtime.precision=32 \
    --seed 1 --out "$out/post-rgb"
python tools/ship_model.py "$out/post-rgb/2018-hokkaido-eastern-iburi-earthquake/seed-1/model" post-rgb \
    --unseen "$out/post-rgb/study.json" --on "$out/iburi.zarr" --command "sh examples/models/post-rgb.sh" \
    --inventory "2018 Hokkaido Eastern Iburi earthquake=K. Kita, from orthophotos" \
    --inventory "Landslide4Sense RGB (kodagu)=Landslide4Sense" \
    --limits "Bare ground that is no landslide looks like one in three colours: river bars, ploughed fields, quarries, \
roads, clouds and snow. One scene cannot tell old landslides from new ones. In deep shade it guesses from what lies \
around. It knows three colours of Sentinel-2 at 10 m, of two rain events; the scores on Iburi are of this very model, \
which never saw Iburi, those on Kodagu of one of the same recipe without Kodagu."
