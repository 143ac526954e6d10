"""Named data sets: real images, decoded once, scaled as asked."""

from nonsingular.data.images import Images, load
from nonsingular.data.prepare import DataSpec, Task, prepare
from nonsingular.data.sources import SOURCES

__all__ = ["SOURCES", "DataSpec", "Images", "Task", "load", "prepare"]
