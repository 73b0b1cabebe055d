"""ResNets, through timm and torchvision."""
