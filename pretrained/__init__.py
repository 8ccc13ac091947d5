"""Trained networks that are used again: found, hashed, checked, loaded and frozen.

    exports   find, find_stage, load_network     networks that this project trained: a run folder, export/, a hub name
    weights   Published, find_file, read_state   files of weights that others published
    hub       download, snapshot                 the one place that asks the Hugging Face hub
    hashes    tensors_hash, check_same           what tells one network from another, and refuses the other
    frozen    freeze, Frozen                     what a stage uses and does not train, and keeps out of its checkpoints
    vgg       vgg_features                       VGG-19 of the perceptual loss
    inception, i3d                               the networks of FID and FVD
    speech    load_speech_model                  wav2vec 2.0, WavLM and HuBERT
    clip      clip_hash                          CLIP's text network

Errors are `settings.ConfigError`; they name the option and say where to get what is missing.
"""
