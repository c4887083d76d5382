"""A stand-in for RoboTwin's base task: the same names and types, a robot of 14 numbers and no physics."""

import types
import zlib

import numpy as np
import sapien.render

from envs.events import misbehave, note, wishes
from envs.utils.create_actor import create_actor


class UnStableError(Exception):
    pass


class Picture:
    def __init__(self, task, name, width, height):
        self.task, self.name, self.size = task, name, (height, width)

    def take_picture(self):
        note(f"render {self.name} {self.size[0]}x{self.size[1]}")

    def get_picture(self, kind):
        values = [*self.task.robot.target, self.task.seed, self.task.clutter, zlib.crc32(self.name.encode())]
        rng = np.random.default_rng(zlib.crc32(np.array(values, np.float64).tobytes()))
        return rng.random((*self.size, 4))  # float64

    def get_intrinsic_matrix(self):
        return np.diag([self.size[0], self.size[0], 1.0])

    def get_extrinsic_matrix(self):
        return np.eye(4)[:3]


class Thing:
    """An entity, its rigid body and its link in one."""

    count = 0

    def __init__(self, name, p=(0.0, 0.0, 0.0)):
        Thing.count += 1
        self.name, self.per_scene_id, self.pose = name, Thing.count, sapien.Pose(p)
        self.entity, self.entity_pose, self.components = self, self.pose, []


class Cabinet:
    """An articulation: a root, a door on a hinge, and a handle that is fixed to the door."""

    def __init__(self):
        self.links = [Thing("cabinet"), Thing("door"), Thing("handle")]
        for parent, link, joint in zip([None, *self.links], self.links, ["fixed", "revolute", "fixed"], strict=False):
            link.is_root, link.parent, link.joint = parent is None, parent, types.SimpleNamespace(type=joint)

    def get_links(self):
        return self.links


class Contact:
    def __init__(self, a, b, position, impulse=1.0):
        self.bodies = [a, b]
        self.points = [Point(position, impulse), Point((9.0, 9.0, 9.0), 0.0)]


class Point:
    def __init__(self, position, impulse):
        self.position, self.impulse = np.array(position), np.array([0.0, 0.0, impulse])


class Scene:
    """A table, two blocks of one name, and contacts where the left hand closes on the first block, or on what the test
    wants to be `held`: "door" or "handle"."""

    def __init__(self, task):
        self.task = task
        self.table, self.blocks = Thing("table"), [Thing("box", (0.0, 0.1, 0.75)), Thing("box", (0.2, 0.1, 0.75))]
        self.cabinet = Cabinet()
        self.held = {link.name: link for link in self.cabinet.links}.get(wishes().get("held"), self.blocks[0])

    def add_camera(self, name, width, height, fovy, near, far):
        return Picture(self.task, name, width, height)

    def step(self):
        note("physics")
        robot = self.task.robot
        robot.real = robot.real + 0.5 * (robot.target - robot.real)
        if robot.target[6] < 0.2:
            self.held.pose.p[0] = 0.1 * robot.real[0]

    def get_all_actors(self):
        return [self.table, *self.blocks]

    def get_all_articulations(self):
        return [self.task.robot.left_entity, self.cabinet]

    def get_contacts(self):
        block, hand = self.blocks[0], self.task.robot.left_gripper
        if self.task.robot.target[6] < 0.2:
            touched = np.add(self.held.pose.p, [0.0, 0.0, 0.02])
            return [Contact(joint[0].child_link, self.held, touched) for joint in hand]
        return [Contact(block, self.table, np.subtract(block.pose.p, [0.0, 0.0, 0.025]))]


class Camera:
    def __init__(self, bias=0, **settings):
        self.settings = settings

    def load_camera(self, scene):
        def add(name, size):
            return scene.add_camera(name=name, width=size[1], height=size[0], fovy=0.6, near=0.1, far=100)

        self.left_camera, self.right_camera = add("left_camera", (240, 320)), add("right_camera", (240, 320))
        self.static_camera_name = ["head_camera", "front_camera"]
        self.static_camera_list = [add(name, (240, 320)) for name in self.static_camera_name]


class Joint:
    def __init__(self, robot, index):
        self.robot, self.index, self.child_link = robot, index, Thing(f"link{index}")

    def get_drive_target(self):
        return [self.robot.target[self.index]]

    def get_limits(self):
        return [[-3.14, 3.14]]


class Model:
    """Kinematics in which an endpose's x is the first joint."""

    def __init__(self, entity):
        self.entity = entity

    def compute_forward_kinematics(self, qpos):
        self.link = sapien.Pose([qpos[0], 0.0, 0.0])

    def get_link_pose(self, link):
        return self.link

    def compute_inverse_kinematics(self, link, pose, start, mask, **settings):
        return np.append(pose.p[0], start[1:]), True, 0.0


class Entity:
    def __init__(self, robot, start):
        self.robot, self.start = robot, start
        self.joints = [Joint(robot, start + index) for index in range(8)]  # the last one is the second finger

    def get_qpos(self):
        return np.append(self.robot.real, 0.0)[self.start : self.start + 8]

    def get_active_joints(self):
        return self.joints

    def get_links(self):
        return [joint.child_link for joint in self.joints]

    def create_pinocchio_model(self):
        return Model(self)

    def get_root_pose(self):
        return sapien.Pose()


class Planner:
    """cuRobo's, whose random seeds go on from plan to plan."""

    def __init__(self):
        self.motion_gen = self

    def reset(self, reset_seed):
        note(f"planner {reset_seed}")


class Robot:
    def __init__(self):
        self.target, self.real = np.zeros(14), np.zeros(14)
        self.target[[6, 13]] = self.real[[6, 13]] = 1.0
        self.left_planner = self.right_planner = Planner()
        self.left_entity, self.right_entity = Entity(self, 0), Entity(self, 7)
        for arm, entity in (("left", self.left_entity), ("right", self.right_entity)):
            setattr(self, f"{arm}_arm_joints", entity.joints[:6])
            setattr(self, f"{arm}_ee", entity.joints[5])
            setattr(self, f"{arm}_gripper", [(entity.joints[6], 1.0, 0.0), (entity.joints[7], 1.0, 0.0)])
            setattr(self, f"{arm}_gripper_scale", [0.0, 1.0])

    def get_left_arm_jointState(self):
        return self.target[:7].tolist()

    def get_right_arm_jointState(self):
        return self.target[7:].tolist()

    def get_left_arm_real_jointState(self):
        return [*self.real[:6].tolist(), self.target[6]]

    def get_right_arm_real_jointState(self):
        return [*self.real[7:13].tolist(), self.target[13]]

    def set_arm_joints(self, target, speed, arm):
        start = 0 if arm == "left" else 7
        self.target[start : start + 6] = target

    def set_gripper(self, value, arm):
        self.target[6 if arm == "left" else 13] = value


class Base_Task:
    def _init_task_env_(self, seed=0, now_ep_num=0, is_test=False, eval_mode=False, **settings):
        print("a line that would break a protocol on stdout", flush=True)
        misbehave("setup")
        sapien.render.set_camera_shader_dir("rt")
        sapien.render.set_ray_tracing_samples_per_pixel(32)
        np.random.seed(seed)
        note(f"setup {seed} eval {eval_mode}")
        self.seed, self.step_lim, self.take_action_cnt = seed, wishes().get("step_lim", 1000), 0
        self.eval_success, self.plan_success, self.record_cluttered_objects = False, True, []
        self.robot = Robot()
        self.scene = Scene(self)
        self.cameras = Camera(**settings)
        self.cameras.load_camera(self.scene)
        self.get_cluttered_table()
        if seed in wishes().get("breaking", []):
            raise RuntimeError("the fake cannot build this scene")
        if seed in wishes().get("unstable", []):
            raise UnStableError(f"Objects is unstable in seed({seed})")

    def get_cluttered_table(self, limits=[0.0]):  # noqa: B006  # RoboTwin's own trap
        limits[0] += 0.3
        self.clutter = limits[0]
        create_actor("clutter")  # RoboTwin does without a model that is not there

    def _update_render(self):
        misbehave("render")

    def get_obs(self):
        for camera in (self.cameras.left_camera, self.cameras.right_camera, *self.cameras.static_camera_list):
            camera.take_picture()

    def _take_picture(self):
        note("picture")

    def get_arm_pose(self, arm):
        return [self.robot.real[0 if arm == "left" else 7], 0.0, 0.8, 1.0, 0.0, 0.0, 0.0]

    def play_once(self):
        note(f"expert {self.seed}")
        misbehave("expert")
        far = 0.0 if self.seed in wishes().get("unsolved", []) else 1.0
        for joint, value in ((6, 0.0), (0, far), (6, 1.0)):
            self._take_picture()
            for index, part in enumerate(np.linspace(self.robot.target[joint], value, 41)[1:]):
                self.robot.target[joint] = part
                self.scene.step()
                if index % 15 == 0:
                    self._take_picture()
            self._take_picture()
        return {"info": {"{A}": "red block"}}

    def take_action(self, action, action_type="qpos"):
        if self.take_action_cnt == self.step_lim or self.eval_success:
            return
        self.take_action_cnt += 1
        print(f"step: {self.take_action_cnt}", end="\r")
        misbehave("act")
        note(f"{action_type} {' '.join(f'{value:.3f}' for value in action)}")
        if action_type == "ee":
            return
        start = self.robot.target.copy()
        count = 15 + int(100 * np.abs(action - start).max())
        for part in np.linspace(0, 1, count + 1)[1:]:
            self.robot.target = start + part * (action - start)
            self.scene.step()
            if self.check_success():
                self.eval_success = True
                self.get_obs()
                return
