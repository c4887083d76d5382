"""The process that runs one RoboTwin task: `PYTHON worker.py FD PARENT`, started by `envs.robotwin.client`.

RoboTwin's interpreter runs this file (Python 3.10, NumPy 1.26), so it imports nothing but the standard library and
NumPy until the first request names a checkout; what RoboTwin prints goes to a log file. Requests and replies travel
over the socket FD; the process group ends with the process PARENT. The parent imports the message format from here.

Read off RoboTwin's envs/_base_task.py, envs/robot/robot.py and envs/camera/camera.py.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib
import json
import math
import os
import random
import re
import signal
import socket
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

# -- messages: a fixed header (magic, bytes of the description, bytes of the arrays), a JSON description, raw arrays --

MAGIC = b"RTW1"
HEADER = struct.Struct("<4sIQ")
MAX_MESSAGE_BYTES = 1 << 28  # bytes; an observation of three 480x640 cameras is 3 MB
REQUESTS = ("expert", "reset", "observe", "act", "demonstrate")  # after "hello"
DTYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")

Arrays = dict[str, np.ndarray]


class ProtocolError(Exception):
    """What arrived is no message."""


def send(channel: socket.socket, name: str, fields: dict[str, Any], arrays: Arrays | None = None) -> None:
    """Sends one message: a name, plain JSON fields and arrays."""
    blobs = {key: np.ascontiguousarray(array) for key, array in (arrays or {}).items()}
    described = [(key, blob.dtype.name, blob.shape) for key, blob in blobs.items()]
    text = json.dumps([name, fields, described]).encode()
    channel.sendall(HEADER.pack(MAGIC, len(text), sum(blob.nbytes for blob in blobs.values())) + text)
    for blob in blobs.values():
        if blob.nbytes:
            channel.sendall(memoryview(blob.reshape(-1).view(np.uint8)))  # pyright: ignore  # 3.10 has no Buffer type


def receive(channel: socket.socket) -> tuple[str, dict[str, Any], Arrays]:
    """The next message.

    Raises:
        EOFError: the other side has closed the channel.
        ProtocolError: the bytes are no message.
        TimeoutError: nothing came within the channel's timeout.
    """
    magic, described_bytes, array_bytes = HEADER.unpack(_read(channel, HEADER.size))
    if magic != MAGIC or described_bytes > MAX_MESSAGE_BYTES or array_bytes > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"no message starts with {magic!r}")
    text, data = _read(channel, described_bytes), _read(channel, array_bytes)
    try:
        name, fields, described = json.loads(text)
        if not isinstance(name, str) or not isinstance(fields, dict):
            raise ProtocolError("a message has a name and fields")
        arrays, start = {}, 0
        for key, dtype, shape in described:
            if dtype not in DTYPES or min(shape, default=0) < 0:
                raise ProtocolError(f"array {key} has dtype {dtype} and shape {shape}")
            count = math.prod(shape)
            arrays[str(key)] = np.frombuffer(data, dtype, count, start).reshape(shape)
            start += arrays[str(key)].nbytes
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"its description cannot be read: {error}") from error
    return name, fields, arrays


def _read(channel: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = channel.recv_into(view)
        if count == 0:
            raise EOFError("the channel is closed")
        view = view[count:]
    return data


# -- the life of the process --------------------------------------------------------------------------------------


WATCH = 0.2  # s between two checks


def die_with(parent: int, channel: socket.socket) -> None:
    """Ends this process and its children (RoboTwin's planners) soon after the parent, or this process, is gone.

    A forked process of the same group watches: a simulator call that holds the interpreter does not stop it, and it
    outlives this process. It looks at process ids, since a child that the parent has forked may hold the socket open.
    """
    simulator = os.getpid()
    if os.fork():
        return
    channel.close()  # its end is to be that of this process
    with contextlib.suppress(OSError):  # one of them is gone
        while os.getppid() == simulator and descends(simulator, parent):
            time.sleep(WATCH)
    os.killpg(0, signal.SIGKILL)


def descends(process: int, ancestor: int) -> bool:
    """Whether a process descends from another one: PYTHON may be a script that starts the interpreter."""
    while process not in (0, ancestor):
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process == ancestor


def serve(channel: socket.socket) -> None:
    """Answers requests one by one until the channel closes."""
    simulator: Any = None
    while True:
        name, fields, arrays = receive(channel)
        try:
            if name == "hello":
                simulator = Simulator(channel, **fields)
                answer, answered = simulator.describe(), {}
            elif name in REQUESTS:
                answer, answered = getattr(simulator, name)(**fields, **arrays)
            else:
                raise ProtocolError(f"there is no request {name!r}")
        except Refusal as refusal:
            send(channel, "refused", {"text": str(refusal)})
        except (Exception, SystemExit) as error:  # RoboTwin calls exit() where a file is missing
            traceback.print_exc()
            if missing := what_is_missing(error, simulator.missing if simulator else []):
                send(channel, "refused", {"text": missing})
            elif machine_failed(error):
                os._exit(1)  # another process may have the memory; tidying up may hang on a GPU that is lost
            else:
                send(channel, "failed", {"kind": type(error).__name__, "text": str(error)})
        else:
            send(channel, "done", answer, answered)
        sys.stdout.flush()
        sys.stderr.flush()


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    die_with(int(sys.argv[2]), channel)
    here = str(Path(__file__).parent)  # RoboTwin's root instead; both repositories hold a package `envs`
    sys.path = [os.getcwd(), *(path for path in sys.path if path != here)]
    with contextlib.suppress(EOFError):
        serve(channel)


# -- the simulator ------------------------------------------------------------------------------------------------

ARMS = ("left", "right")
SUBSTEPS = 15  # physics steps per control step, as between the frames of RoboTwin's data
CONTROL_STEP = SUBSTEPS / 250  # s
INSTRUCTIONS = 100  # per scene, as in RoboTwin's data
MAX_JOINT_STEP = 0.5  # rad per control step that inverse kinematics may ask for, as on the tabletop
ELBOW_STRAIGHT = {"aloha-agilex": 2.9}  # rad, joint3, as on the tabletop: beyond it joint4's limit blocks the wrist


class Refusal(Exception):
    """One sentence for the user."""


MACHINE = re.compile(
    r"out ?of ?\w* ?memory|allocate memory|cuda (error|driver)|(cublas|cudnn|cusolver)_status|vk::|device ?lost",
    re.IGNORECASE,
)


def machine_failed(error: BaseException) -> bool:
    """Whether memory ran out or the GPU failed, which says nothing about the scene."""
    return isinstance(error, MemoryError) or bool(MACHINE.search(f"{type(error).__name__}: {error}"))


class Simulator:
    """One RoboTwin task in this process. Each public method answers the request of its name.

    Args:
        channel: where `demonstrate` sends its frames.
        task, config: RoboTwin's names.
        configs: folder of the configurations, relative to the checkout.
        cameras: name -> (height, width) in px of what is observed; nothing else is rendered.
        shader: "default", or "rt" for RoboTwin's ray tracing.
        evaluation: RoboTwin's `eval_mode`: unseen textures.
    """

    def __init__(
        self, channel: socket.socket, task: str, config: str, configs: str, cameras: dict[str, list[int]],
        shader: str, evaluation: bool,
    ) -> None:  # fmt: skip
        self.channel, self.task_name, self.sizes = channel, task, cameras
        self.arguments, self.step_limit = load_arguments(task, config, Path(configs))
        self.arguments["eval_mode"] = evaluation
        self.task_class = import_task(task)
        base: Any = importlib.import_module("envs._base_task")
        use_shader(shader)
        base.Camera = sized_camera(base.Camera, cameras)
        self.defaults = mutable_defaults(self.task_class)
        self.missing = missing_models()
        self.kinematics: dict[str, ArmKinematics] = {}
        self.task: Any = None
        self.resets = 0

    def describe(self) -> dict[str, Any]:
        names = [name for name in self.arguments["embodiment"] if isinstance(name, str)]
        return {"step_limit": self.step_limit, "embodiment": "+".join(names)}

    def _setup(self, seed: int) -> None:
        """Builds the scene of a seed in a new task; of earlier episodes only the robot is kept."""
        for function, values in self.defaults:
            function.__defaults__ = copy.deepcopy(values)
        self.missing.clear()
        random.seed(seed)  # RoboTwin seeds NumPy and torch, but not this one
        robot = getattr(self.task, "robot", None)
        self.task, self.kinematics = self.task_class(), {}
        if robot is not None:
            self.task.robot = robot  # keeps its planner, whose warm-up takes cuRobo minutes
        self.resets += 1
        if self.resets % self.arguments.get("clear_cache_freq", 5) == 0:
            gc.collect()
            importlib.import_module("sapien.render").clear_cache()
        self.task.setup_demo(now_ep_num=0, seed=seed, is_test=True, **copy.deepcopy(self.arguments))
        self.task.step_lim = self.step_limit  # tasks of RLinf_support have smaller ones, at which the robot would stop
        for arm in ARMS:  # where each arm's planner is a process of its own, RoboTwin does this itself at every reset
            planner = getattr(self.task.robot, f"{arm}_planner", None)
            for kind in ("motion_gen", "motion_gen_batch"):
                if hasattr(planner, kind):
                    getattr(planner, kind).reset(reset_seed=True)
        # On success RoboTwin renders every camera once more for its own video, which nobody asked for.
        self.task.get_obs = lambda: {}

    def expert(self, seed: int) -> tuple[dict[str, Any], Arrays]:
        """RoboTwin's verdict on a seed, and what its expert says about the scene (for the instruction).

        An exception of the set-up other than UnStableError, or where the machine failed, is no verdict.
        """
        try:
            self._setup(seed)
        except Exception as error:
            if type(error).__name__ != "UnStableError":
                raise
            print(f"seed {seed}: {error}")
            return {"verdict": "unstable", "scene": {}}, {}
        try:
            info = self.task.play_once()
            solved = bool(self.task.plan_success and self.task.check_success())
        except Exception as error:  # by RoboTwin's own rule a seed whose expert stumbles does not count
            if machine_failed(error) or what_is_missing(error, self.missing):
                raise
            traceback.print_exc()
            info, solved = {}, False
        return {"verdict": "solved" if solved else "not solved", "scene": scene_words(info)}, {}

    def reset(self, seed: int, scene: dict[str, str]) -> tuple[dict[str, Any], Arrays]:
        """Builds the scene of a seed; nothing is rendered. Returns the instructions that fit it."""
        self._setup(seed)
        return {"instructions": instructions(self.task_name, scene, seed)}, {}

    def act(self, action: np.ndarray, mode: str, servo: bool) -> tuple[dict[str, Any], Arrays]:
        """Executes one action f64 of the environment's action mode; answers whether the task is solved."""
        parts = dict(zip(ARMS, np.split(action, 2), strict=True))
        if mode == "delta_ee":
            parts = {arm: np.append(self._arm(arm).moved(part[:6]), part[6]) for arm, part in parts.items()}
        if mode != "joint" and servo:
            parts = {arm: np.append(self._arm(arm).inverse(part[:7]), part[7]) for arm, part in parts.items()}
        targets = np.concatenate([parts[arm] for arm in ARMS])
        if servo:
            self._servo(targets)
        else:
            self.task.take_action(targets, action_type="qpos" if mode == "joint" else "ee")
        return {"success": bool(self.task.eval_success)}, {}

    def _arm(self, arm: str) -> ArmKinematics:
        if arm not in self.kinematics:
            embodiment = self.arguments["embodiment"]  # one name for both arms, or left, right and their distance
            name = embodiment[ARMS.index(arm) % len(embodiment)]
            self.kinematics[arm] = ArmKinematics(self.task, arm, ELBOW_STRAIGHT.get(name, math.inf))
        return self.kinematics[arm]

    def _servo(self, targets: np.ndarray) -> None:
        """Drives joint targets [14] for 15 physics steps; like `take_action`, looks for success after each of them."""
        task, robot = self.task, self.task.robot
        task.take_action_cnt += 1
        speed = (targets - commanded(robot)) / CONTROL_STEP
        for _ in range(SUBSTEPS):
            for arm, start in (("left", 0), ("right", 7)):
                robot.set_arm_joints(targets[start : start + 6], speed[start : start + 6], arm)
                robot.set_gripper(targets[start + 6], arm)
            task.scene.step()
            if task.check_success():
                task.eval_success = True
                return

    def observe(self) -> tuple[dict[str, Any], Arrays]:
        """Renders the cameras that were asked for and reads the robot."""
        task = self.task
        task._update_render()
        cameras = self._cameras()
        for camera in cameras.values():
            camera.take_picture()
        arrays: Arrays = {}
        for name, camera in cameras.items():
            picture = camera.get_picture("Color")
            arrays[name] = (picture * 255).clip(0, 255).astype("uint8")[:, :, :3]
            arrays[f"{name}_intrinsic"] = np.asarray(camera.get_intrinsic_matrix(), np.float32)
            arrays[f"{name}_extrinsic"] = np.asarray(camera.get_extrinsic_matrix(), np.float32)[:3]
        arrays["qpos"] = commanded(task.robot).astype(np.float32)
        arrays["qpos_measured"] = measured(task.robot).astype(np.float32)
        for arm in ARMS:
            arrays[f"{arm}_endpose"] = np.asarray(task.get_arm_pose(arm), np.float32)
        return {}, arrays

    def _cameras(self) -> dict[str, Any]:
        mine = self.task.cameras
        static = dict(zip(mine.static_camera_name, mine.static_camera_list, strict=True))
        return {name: static[name] if name in static else getattr(mine, name) for name in self.sizes}

    def demonstrate(self, seed: int, scene: dict[str, str], as_recorded: bool) -> tuple[dict[str, Any], Arrays]:
        """RoboTwin's expert on a seed: sends an observation, with contacts, now and after every 15 physics steps.

        Args:
            seed, scene: as in `reset`.
            as_recorded: at the moments of RoboTwin's own recorder instead: every 15 physics steps (the configuration's
                save_freq) of each motion, and where it begins and ends.
        """
        answer, _ = self.reset(seed, scene)
        task, bodies = self.task, Bodies(self.task)
        step, count = task.scene.step, 0

        def frame() -> None:
            send(self.channel, "frame", {}, self.observe()[1] | bodies.read())

        def counted() -> None:
            nonlocal count
            step()
            count += 1
            if count % SUBSTEPS == 0:
                frame()

        if as_recorded:
            task._take_picture = lambda *_: frame()
        else:
            frame()
            task.scene.step = counted
        task.play_once()
        solved = bool(task.plan_success and task.check_success())
        return answer | {"success": solved, "bodies": bodies.names, "links": bodies.links}, {}


class Bodies:
    """All bodies of the scene: names, poses, speeds and contacts. Bodies of one name are numbered (box, box#2).

    `links` names the moving parts of articulated bodies: doors, drawers, lids, levers.
    """

    def __init__(self, task: Any) -> None:
        self.scene = task.scene
        fingers = {
            joint.child_link.entity.per_scene_id: f"{arm}_finger{index}"
            for arm in ARMS
            for index, (joint, _, _) in enumerate(getattr(task.robot, f"{arm}_gripper"))
        }
        clutter = {each["object_type"] for each in task.record_cluttered_objects}
        robots = (task.robot.left_entity, task.robot.right_entity)
        links = [link for robot in self.scene.get_all_articulations() for link in robot.get_links()]
        arms = {link.entity.per_scene_id for robot in robots for link in robot.get_links()}
        entities = [*self.scene.get_all_actors(), *(link.entity for link in links)]
        others = [link for link in links if link.entity.per_scene_id not in arms]
        parts = {link.entity.per_scene_id for link in others if is_moving_part(link)}
        self.entities, self.names, self.links = [], [], []
        for entity in entities:
            if entity.per_scene_id in arms and entity.per_scene_id not in fingers:
                continue
            name = fingers.get(entity.per_scene_id) or entity.name or "body"
            name = f"clutter_{name}" if name in clutter else name
            same = sum(each.split("#")[0] == name for each in self.names)
            self.entities.append(entity)
            self.names.append(f"{name}#{same + 1}" if same else name)
            if entity.per_scene_id in parts:
                self.links.append(self.names[-1])
        self.index = {entity.per_scene_id: index for index, entity in enumerate(self.entities)}

    def read(self) -> Arrays:
        """Poses f32 [bodies, 7] and speeds f32 [bodies] (m/s), contact points f32 [n, 3] with their two bodies."""
        pairs, points = [], []
        for contact in self.scene.get_contacts():
            pair = [self.index.get(component.entity.per_scene_id, -1) for component in contact.bodies]
            if -1 not in pair:  # touches with an impulse, of what is not the arms themselves
                felt = [point.position for point in contact.points if np.dot(point.impulse, point.impulse) > 1e-12]
                pairs += [pair] * len(felt)
                points += felt
        return {
            "body_poses": np.array([[*entity.pose.p, *entity.pose.q] for entity in self.entities], np.float32),
            "body_speed": np.array([speed(entity) for entity in self.entities], np.float32),
            "contact_bodies": np.array(pairs, np.int32).reshape(-1, 2),
            "contact_points": np.array(points, np.float32).reshape(-1, 3),
        }


def is_moving_part(link: Any) -> bool:
    """Whether a hinge or a slide lies between a link and the root of its articulation."""
    while not link.is_root:
        if link.joint.type.startswith(("revolute", "prismatic")):
            return True
        link = link.parent
    return False


def speed(entity: Any) -> float:
    """Speed of an entity's centre, m/s; 0 where it cannot move."""
    moving = [part for part in entity.components if hasattr(part, "linear_velocity")]
    return float(np.linalg.norm(moving[0].linear_velocity)) if moving else 0.0


class ArmKinematics:
    """Forward and inverse kinematics of one arm, between RoboTwin's endpose (world) and joint angles.

    SAPIEN's Pinocchio model has links only; the endpose's place on the last link is measured on the robot.

    Args:
        task: RoboTwin's, or what has its `robot` and `get_arm_pose`.
        arm: "left" or "right".
        straight: angle of the third joint (rad) that solutions keep below, where there is one.
    """

    def __init__(self, task: Any, arm: str, straight: float = math.inf) -> None:
        self.straight = straight
        self.Pose = importlib.import_module("sapien").Pose
        self.robot, self.arm = task.robot, arm
        self.entity = getattr(task.robot, f"{arm}_entity")
        link = getattr(task.robot, f"{arm}_ee").child_link
        self.link = self.entity.get_links().index(link)
        self.active = list(self.entity.get_active_joints())
        self.joints = [self.active.index(joint) for joint in getattr(task.robot, f"{arm}_arm_joints")]
        self.limits = np.concatenate([joint.get_limits() for joint in getattr(task.robot, f"{arm}_arm_joints")])
        self.mask = np.isin(np.arange(len(self.active)), self.joints).astype(np.int32)
        self.model = self.entity.create_pinocchio_model()
        self.base = self.entity.get_root_pose()
        self.mount = self._pose(np.array(task.get_arm_pose(arm))).inv() * link.entity_pose

    def _pose(self, endpose: np.ndarray) -> Any:
        return self.Pose(endpose[:3].tolist(), endpose[3:].tolist())

    def _commanded(self) -> np.ndarray:
        """Joint vector [all active joints] with this arm's joints at their drive targets."""
        qpos = np.array(self.entity.get_qpos(), np.float64)
        qpos[self.joints] = [self.active[joint].get_drive_target()[0] for joint in self.joints]
        return qpos

    def moved(self, delta: np.ndarray) -> np.ndarray:
        """The commanded endpose [7], shifted by delta[:3] (m) and turned by the rotation vector delta[3:] (world)."""
        self.model.compute_forward_kinematics(self._commanded())
        pose = self.base * self.model.get_link_pose(self.link) * self.mount.inv()
        angle = float(np.linalg.norm(delta[3:]))
        axis = delta[3:] / angle if angle > 1e-9 else np.array([1.0, 0.0, 0.0])
        turn = self.Pose([0, 0, 0], np.append(np.cos(angle / 2), np.sin(angle / 2) * axis).tolist())
        return np.concatenate([pose.p + delta[:3], (turn * self.Pose([0, 0, 0], pose.q)).q])

    def inverse(self, endpose: np.ndarray) -> np.ndarray:
        """Joint angles [6] whose endpose is nearest to `endpose` [7], starting from the commanded ones."""
        start = self._commanded()
        target = self.base.inv() * self._pose(endpose) * self.mount
        solution, elbow = self._iterate(target, start), self.joints[2]
        if solution[elbow] > self.straight:
            bent = start.copy()
            bent[elbow] = self.straight - 0.5
            solution = self._iterate(target, bent)
            solution[elbow] = min(solution[elbow], self.straight)
        step = np.clip((solution - start)[self.joints], -MAX_JOINT_STEP, MAX_JOINT_STEP)
        return np.clip(start[self.joints] + step, self.limits[:, 0], self.limits[:, 1])

    def _iterate(self, target: Any, start: np.ndarray) -> np.ndarray:
        """Damped least-squares inverse kinematics [all active joints] (rad)."""
        solution, _, _ = self.model.compute_inverse_kinematics(
            self.link, target, start, self.mask, eps=1e-4, max_iterations=30, dt=0.8, damp=1e-4
        )
        return solution


def commanded(robot: Any) -> np.ndarray:
    """Drive targets f64 [14] in RoboTwin's order: left 6 rad, left gripper 0..1, right 6 rad, right gripper."""
    return np.array([*robot.get_left_arm_jointState(), *robot.get_right_arm_jointState()], np.float64)


def measured(robot: Any) -> np.ndarray:
    """The same, measured; RoboTwin's own reading has the commanded grippers in it."""
    parts = []
    for arm in ARMS:
        entity, (closed, opened) = getattr(robot, f"{arm}_entity"), getattr(robot, f"{arm}_gripper_scale")
        qpos, active = entity.get_qpos(), entity.get_active_joints()
        finger = qpos[active.index(getattr(robot, f"{arm}_gripper")[0][0])]
        joints = getattr(robot, f"get_{arm}_arm_real_jointState")()[:-1]
        parts += [*joints, (finger - closed) / (opened - closed)]
    return np.array(parts, np.float64)


# -- RoboTwin's set-up ----------------------------------------------------------------------------------------------


def load_arguments(task: str, config: str, configs: Path) -> tuple[dict[str, Any], int]:
    """The keyword arguments of `setup_demo` for a configuration, and the task's step limit.

    Raises:
        Refusal: configuration, embodiment or assets are missing, or the robot has not two arms of six joints.
    """
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise Refusal(wrong_interpreter(error)) from error

    def read(path: Path) -> dict[str, Any]:
        return yaml.safe_load(path.read_text(encoding="utf-8"))

    if not (configs / f"{config}.yml").is_file():
        known = sorted(path.stem for path in configs.glob("*.yml") if not path.stem.startswith("_"))
        raise Refusal(f"this RoboTwin checkout has no configuration {config!r}; it has {', '.join(known)}")
    arguments = read(configs / f"{config}.yml")
    arguments |= {"task_name": task, "task_config": config, "render_freq": 0, "save_data": False, "need_plan": True}
    if not Path("assets/objects").is_dir():
        raise Refusal(missing_assets("assets/objects"))
    embodiment, known = arguments["embodiment"], read(configs / "_embodiment_config.yml")
    for side, name in (("left", embodiment[0]), ("right", embodiment[1] if len(embodiment) == 3 else embodiment[0])):
        if name not in known or not known[name]["file_path"]:
            raise Refusal(f"this RoboTwin checkout has no embodiment {name!r}; it has {', '.join(sorted(known))}")
        folder = known[name]["file_path"]
        if not (Path(folder) / "config.yml").is_file():
            raise Refusal(missing_assets(f"{folder.rstrip('/')}/config.yml"))
        robot = read(Path(folder) / "config.yml")
        arms = robot["arm_joints_name"]
        if len(arms) != 2 or any(len(joints) != 6 for joints in arms):
            counts = " and ".join(str(len(joints)) for joints in arms)
            raise Refusal(
                f"the embodiment {name} has arms of {counts} joints, and actions here are for two arms of 6; "
                f"choose a configuration with another embodiment, such as aloha-agilex"
            )
        arguments[f"{side}_robot_file"], arguments[f"{side}_embodiment_config"] = folder, robot
    arguments["dual_arm_embodied"] = len(embodiment) == 1
    if len(embodiment) == 3:
        arguments["embodiment_dis"] = embodiment[2]
    return arguments, int(read(configs / "_eval_step_limit.yml").get(task, 1000))  # 1000 is RoboTwin's fallback


def import_task(task: str) -> type:
    """RoboTwin's class of a task.

    Raises:
        Refusal: this interpreter lacks what RoboTwin imports.
    """
    try:
        module = importlib.import_module(f"envs.{task}")
        planner = importlib.import_module("envs.robot.planner")
    except ImportError as error:
        if "curobo" in str(error).lower():
            raise Refusal(NO_CUROBO) from error
        raise Refusal(wrong_interpreter(error)) from error
    if planner.CuroboPlanner is None:  # RLinf_support goes on without, until the robot is built
        raise Refusal(NO_CUROBO)
    return getattr(module, task)


NO_CUROBO = (
    f"cuRobo cannot be imported by {sys.executable}, and RoboTwin plans its experts with it; install it as RoboTwin's "
    "_install.sh does"
)
NO_DEVICE = "SAPIEN finds no Vulkan device to render with; `python -m aim_rl.doctor` says how to fix it"


def wrong_interpreter(error: ImportError) -> str:
    return f"{sys.executable} is not the interpreter that RoboTwin was installed into: {error}"


def missing_assets(what: str) -> str:
    return f"RoboTwin's assets are missing ({what}); download them with its _download_assets.sh"


def what_is_missing(error: BaseException, models: list[str]) -> str | None:
    """The sentence for an exception that RoboTwin raises where its set-up lacks something.

    Args:
        error: the exception.
        models: what RoboTwin has looked for in vain (`missing_models`).
    """
    if "rendering device" in str(error):
        return NO_DEVICE
    if isinstance(error, FileNotFoundError) and "assets" in str(error):
        return missing_assets(str(error.filename or error))
    if models and "NoneType" in str(error):
        return missing_assets(f"assets/objects/{models[0]}")
    if "No available model_data.json" in str(error):
        return missing_assets(str(error))
    return None


def missing_models() -> list[str]:
    """A list that fills with the models whose files RoboTwin looks for in vain.

    It prints their names and goes on with None, without which clutter does, and over which a task stumbles.
    """
    missing: list[str] = []

    def heard(*words: Any) -> None:
        if words[1:] == ("is not exist model file!",):
            missing.append(str(words[0]))
        print(*words)

    vars(importlib.import_module("envs.utils.create_actor"))["print"] = heard
    return missing


def use_shader(shader: str) -> None:
    """Keeps RoboTwin, which asks for ray tracing in code, to SAPIEN's default shader, unless "rt" is wanted."""
    if shader == "rt":
        return
    render: Any = importlib.import_module("sapien.render")
    set_shader = render.set_camera_shader_dir
    render.set_camera_shader_dir = lambda name: set_shader(shader)
    for name in ("set_ray_tracing_samples_per_pixel", "set_ray_tracing_path_depth", "set_ray_tracing_denoiser"):
        setattr(render, name, lambda value: None)


def sized_camera(camera_class: Any, sizes: dict[str, list[int]]) -> Any:
    """RoboTwin's `Camera` with the cameras of `sizes` made as large as that; their field of view stays."""

    class Sized:
        """The scene as `load_camera` sees it."""

        def __init__(self, scene: Any) -> None:
            self.scene = scene

        def add_camera(self, name: str, width: int, height: int, **optics: Any) -> Any:
            height, width = sizes.get(name, (height, width))
            return self.scene.add_camera(name=name, width=width, height=height, **optics)

    class SizedCamera(camera_class):
        def load_camera(self, scene: Any) -> None:
            super().load_camera(Sized(scene))

    return SizedCamera


def mutable_defaults(task_class: type) -> list[tuple[Any, Any]]:
    """Methods whose default arguments are lists, with a copy of these.

    RoboTwin changes some in place (the bounds of the clutter by a table's offset), so that a seed would show another
    scene on every reset.
    """
    functions = [
        value for kind in task_class.__mro__ for value in vars(kind).values() if hasattr(value, "__defaults__")
    ]
    lists = [each for each in functions if any(isinstance(value, (list, dict)) for value in each.__defaults__ or ())]
    return [(each, copy.deepcopy(each.__defaults__)) for each in lists]


def scene_words(info: Any) -> dict[str, str]:
    """What fills the placeholders of the task's instructions, of the `info` that an expert returns."""
    words = info.get("info", {}) if isinstance(info, dict) else {}
    return {str(key): str(value) for key, value in words.items()}


def instructions(task: str, scene: dict[str, str], seed: int) -> dict[str, list[str]]:
    """RoboTwin's instructions for a scene, "seen" and "unseen"; the task's name where it has none."""
    random.seed(seed)
    try:
        module = importlib.import_module("description.utils.generate_episode_instructions")
        (made,) = module.generate_episode_descriptions(task, [scene], INSTRUCTIONS)
    except (Exception, SystemExit):  # a checkout without texts or object descriptions; the log says which
        traceback.print_exc()
        made = {}
    return {kind: list(dict.fromkeys(made.get(kind) or [task.replace("_", " ")])) for kind in ("seen", "unseen")}


if __name__ == "__main__":
    main()
