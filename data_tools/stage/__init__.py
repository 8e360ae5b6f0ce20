"""The virtual stage: product shots with exactly known camera angle, framing, move, light and cuts, from a seed.

It makes the demo's footage, and the ground truth that taggers and training are measured on. It knows nothing of the
pipeline that reads its footage.

    shapes  ->  scene  ->  field, lighting, paint  ->  render      numbers in, pixels out
    sample: words of the taxonomy in, numbers out                  shoot: a workspace full of footage
"""

from data_tools.stage.brands import ACME, KITS, BrandKit
from data_tools.stage.render import render
from data_tools.stage.sample import sample_brand_scene, sample_scene
from data_tools.stage.scene import Camera, Light, Product, Scene, StageSet, content, describe
from data_tools.stage.shoot import render_stage

__all__ = ["ACME", "KITS", "BrandKit", "Camera", "Light", "Product", "Scene", "StageSet", "content", "describe", "render",
           "render_stage", "sample_brand_scene", "sample_scene"]
