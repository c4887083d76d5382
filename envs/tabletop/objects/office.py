"""Objects of a desk and a shelf: stationery, clock, fan, phone, scale, stands, signs, and small objects to place."""

from __future__ import annotations

import numpy as np
import sapien

from envs.tabletop.objects.parts import DARK, PALETTE, STEEL, WOOD, Parts, draw, shade
from envs.tabletop.scene import Body, Tabletop


def stapler(scene: Tabletop, pose: sapien.Pose, name: str = "stapler", static: bool = False) -> Body:
    """A stapler, long along x, its mouth towards +x.

    Points: "top", where it is pressed; "grip", on its middle, held from above by fingers that close along y.
    """
    length, width = draw(scene, (0.12, 0.135, 0.15)), draw(scene, (0.03, 0.034))
    colour = draw(scene, ("black", "red", "blue", "grey", "teal"))
    look = PALETTE[colour]
    half, tilt = length / 2, 0.12  # rad, by which the upper half gapes
    gape = sapien.Pose(q=[np.cos(tilt / 2), 0, -np.sin(tilt / 2), 0])
    parts = Parts(scene)
    parts.box((half, width / 2, 0.004), [0, 0, 0.004], DARK)
    parts.box((0.012, width / 2, 0.012), [-half + 0.012, 0, 0.018], shade(look, 0.7))
    parts.box((half - 0.004, 0.4 * width, 0.004), [0.002, 0, 0.027], STEEL, gape)
    parts.box((half, width / 2, 0.008), [0, 0, 0.039], look, gape)
    parts.cylinder(width / 2, 0.016, [0.98 * half, 0, 0.032 + tilt * half], look)
    parts.box((0.4 * half, 0.3 * width, 0.001), [0, 0, 0.048], shade(look, 1.6), gape, solid=False)
    return parts.build(
        name,
        pose,
        static,
        colour=colour,
        width=width,
        top=[0.7 * half, 0, 0.048 + 0.7 * tilt * half],
        grip=[-0.1 * half, 0, 0.034],
    )


def tea_box(scene: Tabletop, pose: sapien.Pose, name: str = "tea_box") -> Body:
    """A small carton with a label, long along x. Points: "grip", in its middle; "top"."""
    half = (draw(scene, (0.035, 0.042)), draw(scene, (0.02, 0.025)), draw(scene, (0.018, 0.024)))
    colour = draw(scene, ("green", "orange", "red", "purple", "blue", "yellow"))
    look = PALETTE[colour]
    parts = Parts(scene)
    parts.box(half, [0, 0, half[2]], look)
    parts.box((0.6 * half[0], 0.6 * half[1], 0.0005), [0, 0, 2 * half[2]], PALETTE["white"], solid=False)
    parts.box((0.6 * half[0], half[1] + 0.0005, 0.4 * half[2]), [0, 0, half[2]], shade(look, 0.5), solid=False)
    return parts.build(name, pose, colour=colour, width=2 * half[1], grip=[0, 0, half[2]], top=[0, 0, 2 * half[2]])


def playing_cards(scene: Tabletop, pose: sapien.Pose, name: str = "playing_cards") -> Body:
    """A box of playing cards that stands on its long side, along x. Points: "grip", near its upper side; "top"."""
    half = (draw(scene, (0.042, 0.046)), draw(scene, (0.009, 0.011, 0.013)), draw(scene, (0.031, 0.034)))
    colour = draw(scene, ("red", "blue", "black", "green", "purple"))
    look = PALETTE[colour]
    x, y, z = half
    parts = Parts(scene)
    parts.box(half, [0, 0, z], look)
    for sign in (-1, 1):  # the back of a card on both faces: a white frame, a lozenge
        face = sign * (y + 0.0003)
        parts.box((0.9 * x, 0.0004, 0.86 * z), [0, face, z], PALETTE["white"], solid=False)
        parts.box((0.82 * x, 0.0008, 0.74 * z), [0, face, z], look, solid=False)
        lozenge = sapien.Pose(q=[np.cos(np.pi / 8), 0, np.sin(np.pi / 8), 0])
        parts.box((0.36 * z, 0.0012, 0.36 * z), [0, face, z], PALETTE["white"], lozenge, solid=False)
        parts.box((0.2 * z, 0.0016, 0.2 * z), [0, face, z], look, lozenge, solid=False)
    parts.box((0.9 * x, 0.7 * y, 0.0004), [0, 0, 2 * z], shade(look, 1.5), solid=False)
    return parts.build(name, pose, colour=colour, width=2 * y, grip=[0, 0, 2 * z - 0.018], top=[0, 0, 2 * z])


def alarm_clock(scene: Tabletop, pose: sapien.Pose, name: str = "alarm_clock", static: bool = True) -> Body:
    """An alarm clock, round with two bells or square, its face towards -y. Point "top" is the middle of its button."""
    radius, depth = draw(scene, (0.035, 0.04)), draw(scene, (0.042, 0.05))
    colour = draw(scene, ("red", "teal", "yellow", "pink", "white", "blue"))
    look, middle = PALETTE[colour], radius + 0.007
    parts = Parts(scene)
    if draw(scene, ("round", "square")) == "round":
        parts.cylinder(radius, depth, [0, depth / 2, middle], look, axis=(0, -1, 0))
        for sign in (-1, 1):
            parts.rod([[0, 0, middle], [0.6 * radius * sign, 0, 0.007]], 0.006, shade(look, 0.7))
            parts.sphere(0.36 * radius, [0.68 * radius * sign, 0, middle + 0.78 * radius], STEEL)
    else:
        parts.box((radius, depth / 2, radius), [0, 0, middle], look)
        for sign in (-1, 1):
            parts.box((0.008, 0.4 * depth, 0.005), [0.7 * radius * sign, 0, 0.005], shade(look, 0.6))
    top = middle + radius
    parts.cylinder(0.005, 0.014, [0, 0, top - 0.002], STEEL)
    parts.cylinder(0.012, 0.007, [0, 0, top + 0.009], PALETTE["red"] if colour != "red" else PALETTE["yellow"])
    front = -depth / 2
    parts.cylinder(0.84 * radius, 0.001, [0, front, middle], PALETTE["white"], axis=(0, -1, 0), solid=False)
    parts.cylinder(0.8 * radius, 0.001, [0, -front, middle], shade(look, 0.55), axis=(0, 1, 0), solid=False)
    for sign in (-1, 1):  # the winders
        parts.cylinder(0.006, 0.006, [0.4 * sign * radius, -front, middle], STEEL, axis=(0, 1, 0), solid=False)
    for hour in range(12):
        c, s = np.cos(hour * np.pi / 6), np.sin(hour * np.pi / 6)
        mark = sapien.Pose(q=[np.cos(hour * np.pi / 12), 0, np.sin(hour * np.pi / 12), 0])
        at = [0.7 * radius * s, front - 0.001, middle + 0.7 * radius * c]
        parts.box((0.0012, 0.0008, 0.003), at, DARK, mark, solid=False)
    for angle, length in ((scene.rng.uniform(0, 2 * np.pi), 0.32), (scene.rng.uniform(0, 2 * np.pi), 0.5)):
        hand = sapien.Pose(q=[np.cos(angle / 2), 0, np.sin(angle / 2), 0])
        shift = length / 2 * radius * np.array([np.sin(angle), 0, np.cos(angle)])
        parts.box(
            (0.0016, 0.0006, length / 2 * radius), np.add([0, front - 0.0016, middle], shift), DARK, hand, solid=False
        )
    return parts.build(name, pose, static, colour=colour, top=[0, 0, top + 0.016])


def mouse(scene: Tabletop, pose: sapien.Pose, name: str = "mouse") -> Body:
    """A computer mouse, long along x, its buttons towards +x. Points: "grip", across its middle; "top"."""
    half, width = draw(scene, (0.044, 0.05)), draw(scene, (0.05, 0.056))
    colour = draw(scene, ("black", "white", "grey", "red", "blue", "pink"))
    look, flank = PALETTE[colour], half - width / 2
    parts = Parts(scene)
    parts.box((flank + 0.004, width / 2, 0.013), [0, 0, 0.013], look)
    parts.cylinder(width / 2, 0.022, [flank, 0, 0], look)
    parts.cylinder(width / 2, 0.026, [-flank, 0, 0], look)
    tilt = sapien.Pose(q=[np.cos(0.05), 0, np.sin(0.05), 0])  # the back hunches down to the buttons
    parts.box((0.82 * half, 0.38 * width, 0.005), [-0.002, 0, 0.0275], shade(look, 1.25), tilt)
    parts.box((0.34 * half, 0.001, 0.0052), [0.46 * half, 0, 0.0275 - 0.0046 * half / 0.1], DARK, tilt, solid=False)
    parts.cylinder(0.007, 0.006, [0.5 * half, 0.003, 0.0285], (0.4, 0.4, 0.42), axis=(0, -1, 0), solid=False)
    return parts.build(name, pose, colour=colour, width=width, grip=[0, 0, 0.024], top=[0, 0, 0.033])


def pad(
    scene: Tabletop, pose: sapien.Pose, half: tuple[float, float] = (0.05, 0.05), name: str = "pad", solid: bool = True
) -> Body:
    """A thin mat of one colour, fixed to the table, half sizes (m) along x and y. Point "top" is its middle."""
    colour = draw(scene, [name for name in PALETTE if name != "white"])  # the table is white
    parts = Parts(scene)
    parts.box((*half, 0.001), [0, 0, 0], PALETTE[colour], solid=solid)
    return parts.build(name, pose, static=True, colour=colour, top=[0, 0, 0.001])


def fan(scene: Tabletop, pose: sapien.Pose, name: str = "fan") -> Body:
    """A small desk fan that blows towards -y. Points: "grip", at the top of its cage, which fingers clamp along y."""
    radius, depth = draw(scene, (0.038, 0.044)), draw(scene, (0.028, 0.034))
    colour = draw(scene, ("white", "teal", "blue", "pink", "black", "yellow"))
    look = PALETTE[colour]
    pale, middle = shade(look, 0.45 if colour == "white" else 1.6), radius + 0.028
    parts = Parts(scene)
    parts.cylinder(0.044, 0.012, [0, 0, 0], look)
    parts.cylinder(0.008, 0.03, [0, 0, 0.01], shade(look, 0.8))
    parts.density = 120
    parts.cylinder(radius, depth, [0, depth / 2, middle], shade(look, 0.8), axis=(0, -1, 0))
    front = -depth / 2
    parts.cylinder(0.9 * radius, 0.001, [0, front, middle], (0.18, 0.18, 0.2), axis=(0, -1, 0), solid=False)
    for blade in range(3):
        angle = blade * 2 * np.pi / 3 + 0.3
        turn = sapien.Pose(q=[np.cos(angle / 2), 0, np.sin(angle / 2), 0])
        shift = 0.47 * radius * np.array([np.sin(angle), 0, np.cos(angle)])
        parts.box(
            (0.2 * radius, 0.0006, 0.36 * radius), np.add([0, front - 0.0012, middle], shift), pale, turn, solid=False
        )
    for share in (0.35, 0.65):  # the grille, as two wires across
        angle = share * np.pi
        ends = [0.92 * radius * sign * np.array([np.cos(angle), 0, np.sin(angle)]) for sign in (-1, 1)]
        parts.rod([np.add([0, front - 0.002, middle], end) for end in ends], 0.0008, STEEL, solid=False)
    parts.cylinder(0.2 * radius, 0.003, [0, front, middle], STEEL, axis=(0, -1, 0), solid=False)
    parts.cylinder(0.85 * radius, 0.001, [0, -front, middle], (0.3, 0.3, 0.32), axis=(0, 1, 0), solid=False)
    parts.cylinder(0.45 * radius, 0.012, [0, -front, middle], shade(look, 0.7), axis=(0, 1, 0), solid=False)  # motor
    return parts.build(
        name, pose, colour=colour, width=depth, grip=[0, 0, middle + radius - 0.014], top=[0, 0, middle + radius]
    )


def electronic_scale(scene: Tabletop, pose: sapien.Pose, name: str = "electronic_scale") -> Body:
    """A flat scale with a steel plate and a display towards -y. Point "top" is the middle of the plate."""
    x, y = draw(scene, (0.052, 0.058)), draw(scene, (0.062, 0.068))
    colour = draw(scene, ("white", "black", "grey", "blue"))
    look = PALETTE[colour]
    parts = Parts(scene, density=600)
    parts.box((x, y, 0.01), [0, 0, 0.01], look)
    parts.box((0.94 * x, 0.74 * y, 0.003), [0, 0.22 * y, 0.023], STEEL)
    parts.box((0.42 * x, 0.12 * y, 0.0006), [0, -0.8 * y, 0.02], (0.25, 0.75, 0.5), solid=False)
    for sign in (-1, 1):
        parts.cylinder(0.005, 0.001, [0.7 * x * sign, -0.8 * y, 0.02], PALETTE["orange"], solid=False)
    return parts.build(name, pose, colour=colour, top=[0, 0.22 * y, 0.026])


def display_stand(scene: Tabletop, pose: sapien.Pose, name: str = "display_stand") -> Body:
    """A low pedestal, round or square. Point "top" is the middle of its upper side."""
    half, height = draw(scene, (0.048, 0.054)), draw(scene, (0.03, 0.038, 0.046))
    colour = draw(scene, ("white", "black", "wooden", "teal", "purple"))
    look = WOOD if colour == "wooden" else PALETTE[colour]
    parts = Parts(scene, density=600)
    if draw(scene, ("round", "square")) == "round":
        parts.disc(half, 0.01, 0.0, shade(look, 0.8))
        parts.cylinder(0.5 * half, height - 0.018, [0, 0, 0.009], shade(look, 0.6))
        parts.disc(half, 0.01, height - 0.01, look)
        parts.disc(0.86 * half, 0.0004, height, shade(look, 1.25), solid=False)
    else:
        parts.box((half, half, 0.005), [0, 0, 0.005], shade(look, 0.8))
        parts.box((0.5 * half, 0.5 * half, height / 2 - 0.008), [0, 0, height / 2], shade(look, 0.6))
        parts.box((half, half, 0.005), [0, 0, height - 0.005], look)
        parts.box((0.86 * half, 0.86 * half, 0.0004), [0, 0, height], shade(look, 1.25), solid=False)
    return parts.build(name, pose, colour=colour, top=[0, 0, height])


def phone(scene: Tabletop, pose: sapien.Pose, name: str = "phone") -> Body:
    """A phone on its back, long along x, its top towards +x.

    Points: "grip", across its upper part, a little above it; "foot", the middle of its lower edge, on the back.
    """
    half, width = draw(scene, (0.066, 0.071, 0.075)), draw(scene, (0.064, 0.07))
    colour = draw(scene, ("black", "white", "blue", "red", "green", "purple"))
    look = PALETTE[colour]
    parts = Parts(scene, density=200)
    parts.box((half, width / 2, 0.006), [0, 0, 0.006], look)
    parts.box((half - 0.004, width / 2 - 0.003, 0.0004), [0, 0, 0.012], DARK, solid=False)
    for row in range(4):  # the home screen
        for column in (-1, 0, 1):
            look_of = (("orange", "green", "teal"), ("blue", "yellow", "red"))[row % 2][column + 1]
            at = [(0.62 - 0.3 * row) * half, -0.28 * width * column, 0.0124]
            parts.box((0.006, 0.006, 0.0004), at, PALETTE[look_of], solid=False)
    parts.box((0.002, 0.01, 0.0004), [0.88 * half, 0, 0.0124], (0.4, 0.4, 0.42), solid=False)
    parts.box((0.002, 0.014, 0.0004), [-0.86 * half, 0, 0.0124], PALETTE["white"], solid=False)
    return parts.build(name, pose, colour=colour, width=width, grip=[0.3 * half, 0, 0.022], foot=[-half, 0, 0])


def phone_stand(scene: Tabletop, pose: sapien.Pose, name: str = "phone_stand") -> Body:
    """A stand that a phone leans in, facing -y, fixed to the table.

    Points: "seat", where the back of the phone's lower edge rests; "lean", a point further up its back rest: the line
    through both gives the slope.
    """
    slope, half = draw(scene, (1.1, 1.2)), draw(scene, (0.024, 0.03))  # rad above the level; m
    colour = draw(scene, ("white", "grey", "black", "teal", "wooden"))
    look = WOOD if colour == "wooden" else PALETTE[colour]
    up = np.array([0, np.cos(slope), np.sin(slope)])
    tilt = sapien.Pose(q=[np.cos(slope / 2 - np.pi / 4), np.sin(slope / 2 - np.pi / 4), 0, 0])
    seat, length = np.array([0, -0.01, 0.016]), 0.085
    parts = Parts(scene)
    parts.box((half + 0.006, 0.045, 0.005), [0, 0.014, 0.005], shade(look, 0.8))
    parts.box((half, 0.02, 0.003), [0, -0.012, 0.013], look)
    parts.box((half, 0.003, 0.006), [0, -0.035, 0.019], look)
    front = np.cross([1, 0, 0], up)  # of the back rest: towards the robot and up
    parts.box((half, 0.003, length / 2), seat + length / 2 * up - 0.003 * front, look, tilt)
    return parts.build(name, pose, static=True, colour=colour, seat=seat, lean=seat + length * up)


def payment_sign(scene: Tabletop, pose: sapien.Pose, name: str = "payment_sign") -> Body:
    """An upright sign with a QR code towards -y, on a foot. Points: "grip", at its upper edge; "top"."""
    half, height = draw(scene, (0.034, 0.039)), draw(scene, (0.085, 0.095))
    colour = draw(scene, ("white", "green", "blue", "orange", "red"))
    look, thick = PALETTE[colour], 0.006
    parts = Parts(scene)
    parts.box((half + 0.004, 0.03, 0.005), [0, 0, 0.005], shade(look, 0.7))
    parts.density = 150
    parts.box((half, thick, height / 2), [0, 0, height / 2], look)
    cells, side = 9, 1.7 * half
    cell, middle = side / cells, height - 0.008 - side / 2
    parts.box((side / 2 + 0.002, 0.0005, side / 2 + 0.002), [0, -thick, middle], (1.0, 1.0, 1.0), solid=False)
    dark = scene.rng.random((cells, cells)) < 0.45
    for row, column in ((0, 0), (0, cells - 3), (cells - 3, 0)):  # the three finder squares
        dark[row : row + 3, column : column + 3] = True
        dark[row + 1, column + 1] = False
    for row, column in np.argwhere(dark):
        at = [(column - (cells - 1) / 2) * cell, -thick - 0.0006, middle + ((cells - 1) / 2 - row) * cell]
        parts.box((cell / 2, 0.0004, cell / 2), at, DARK, solid=False)
    parts.box((0.6 * half, 0.0008, 0.003), [0, -thick, 0.018], DARK, solid=False)
    back = [0, thick, 0.55 * height]  # with a bank card on it, so that a sign is seen from behind, too
    parts.box((0.78 * half, 0.0005, 0.5 * half), back, PALETTE["white"] if colour != "white" else STEEL, solid=False)
    parts.box((0.66 * half, 0.0008, 0.38 * half), back, PALETTE["teal"], solid=False)
    parts.box((0.66 * half, 0.0011, 0.08 * half), np.add(back, [0, 0, 0.16 * half]), DARK, solid=False)
    parts.box(
        (0.1 * half, 0.0011, 0.08 * half), np.add(back, [-0.4 * half, 0, -0.12 * half]), PALETTE["yellow"], solid=False
    )
    return parts.build(name, pose, colour=colour, width=2 * thick, grip=[0, 0, height - 0.016], top=[0, 0, height])


def seal(scene: Tabletop, pose: sapien.Pose, name: str = "seal") -> Body:
    """A stamp that stands on its rubber, with a round handle. Points: "grip", on the handle; "top"."""
    half, handle, height = draw(scene, (0.02, 0.024)), draw(scene, (0.009, 0.011)), draw(scene, (0.085, 0.095))
    colour = draw(scene, ("red", "black", "brown", "green", "blue"))
    look = PALETTE[colour]
    parts = Parts(scene, density=400)
    if draw(scene, ("round", "square")) == "round":
        parts.cylinder(half, 0.004, [0, 0, 0], DARK)
        parts.cylinder(half, 0.02, [0, 0, 0.004], WOOD)
    else:
        parts.box((half, half, 0.002), [0, 0, 0.002], DARK)
        parts.box((half, half, 0.01), [0, 0, 0.014], WOOD)
    parts.density = 150
    parts.cylinder(handle, height - 0.024 - handle, [0, 0, 0.024], look)
    parts.sphere(handle, [0, 0, height - handle], look)
    return parts.build(name, pose, colour=colour, width=2 * handle, grip=[0, 0, height - 0.03], top=[0, 0, height])


def cube(scene: Tabletop, pose: sapien.Pose, name: str = "cube") -> Body:
    """A puzzle cube of two by two stickers a side. Points: "grip", in its middle; "top"."""
    half = draw(scene, (0.022, 0.025))
    body = draw(scene, ("black", "white"))
    looks = [PALETTE[colour] for colour in ("red", "orange", "yellow", "green", "blue")] + [(1.0, 1.0, 1.0)]
    parts = Parts(scene)
    parts.box((half, half, half), [0, 0, half], PALETTE[body])
    for axis, sign in ((0, -1), (0, 1), (1, -1), (1, 1), (2, 1)):
        for u in (-1, 1):
            for v in (-1, 1):
                at = np.insert(0.49 * half * np.array([u, v]), axis, sign * half) + half * np.array([0, 0, 1])
                parts.box(np.insert(np.full(2, 0.43 * half), axis, 0.0006), at, draw(scene, looks), solid=False)
    return parts.build(name, pose, colour=body, width=2 * half, grip=[0, 0, half + 0.002], top=[0, 0, 2 * half])


def toy_car(scene: Tabletop, pose: sapien.Pose, name: str = "toy_car") -> Body:
    """A toy car on its wheels, its bonnet towards +x. Points: "grip", in its middle; "top"."""
    length, width = draw(scene, (0.072, 0.08)), draw(scene, (0.034, 0.04))
    colour = draw(scene, ("red", "blue", "yellow", "green", "orange", "purple"))
    look, parts = PALETTE[colour], Parts(scene, density=120.0)
    x, y, wheel = length / 2, width / 2, 0.009
    parts.box((x, y, 0.009), [0, 0, 0.015], look)
    parts.box((0.5 * x, 0.86 * y, 0.008), [-0.12 * x, 0, 0.032], shade(look, 0.9))
    parts.box((0.42 * x, 0.87 * y, 0.0045), [-0.12 * x, 0, 0.033], (0.55, 0.75, 0.88), solid=False)
    parts.box((0.51 * x, 0.7 * y, 0.0045), [-0.12 * x, 0, 0.033], (0.55, 0.75, 0.88), solid=False)
    for sign in (-1, 1):
        parts.box((0.002, 0.004, 0.003), [x, sign * 0.6 * y, 0.017], (1.0, 0.97, 0.75), solid=False)
        for place in (-0.58 * x, 0.58 * x):
            parts.cylinder(wheel, 0.006, [place, sign * (y - 0.003) - 0.003, wheel], DARK, axis=(0, 1, 0))
            parts.cylinder(0.4 * wheel, 0.008, [place, sign * (y - 0.003) - 0.004, wheel], STEEL, (0, 1, 0), False)
    return parts.build(name, pose, colour=colour, width=width, grip=[0, 0, 0.021], top=[0, 0, 0.04])


def remote_control(scene: Tabletop, pose: sapien.Pose, name: str = "remote_control") -> Body:
    """A remote control, long along x. Points: "grip", across its middle; "top"."""
    half, width = draw(scene, (0.06, 0.07)), draw(scene, (0.036, 0.042))
    colour = draw(scene, ("black", "grey", "white"))
    parts = Parts(scene)
    parts.box((half, width / 2, 0.01), [0, 0, 0.01], PALETTE[colour])
    parts.cylinder(0.005, 0.0015, [0.82 * half, 0, 0.02], PALETTE["red"], solid=False)
    for row in range(5):
        for column in (-1, 0, 1):
            at = [(0.55 - 0.27 * row) * half, 0.27 * width * column, 0.02]
            parts.box((0.004, 0.0035, 0.0012), at, (0.6, 0.6, 0.62) if colour == "black" else DARK, solid=False)
    return parts.build(name, pose, colour=colour, width=width, grip=[0, 0, 0.023], top=[0, 0, 0.02])


def hand_bell(scene: Tabletop, pose: sapien.Pose, name: str = "hand_bell") -> Body:
    """A small bell with an upright handle. Points: "grip", on the handle; "top"."""
    radius, handle = draw(scene, (0.028, 0.032)), draw(scene, (0.008, 0.01))
    colour = draw(scene, ("golden", "grey", "copper"))
    look = {"golden": (0.85, 0.65, 0.2), "grey": STEEL, "copper": (0.72, 0.42, 0.28)}[colour]
    parts = Parts(scene)
    for share, low, high in ((1.0, 0.0, 0.006), (0.85, 0.006, 0.018), (0.7, 0.018, 0.03), (0.5, 0.03, 0.036)):
        parts.cylinder(share * radius, high - low, [0, 0, low], look)
    parts.sphere(0.9 * radius, [0, 0, 0.014], look, solid=False)  # a smooth dome over these steps
    parts.cylinder(1.08 * radius, 0.005, [0, 0, 0.001], shade(look, 0.6), solid=False)
    parts.cylinder(1.4 * handle, 0.003, [0, 0, 0.036], shade(look, 0.6), solid=False)
    parts.density = 150
    parts.cylinder(handle, 0.044, [0, 0, 0.036], DARK)
    return parts.build(name, pose, colour=colour, width=2 * handle, grip=[0, 0, 0.064], top=[0, 0, 0.08])
