//! The driver on an emulated controller: enabling, following, every kind of stop, a cut, and every refusal.

mod emulator;
mod shell;

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use emulator::{Controller, Options, PAUSED, PLAYING, STOPPED};
use shell::{Shell, start};
use tactus_drivers_api::Device;
use tactus_ur::bench::Act;
use tactus_ur::modes::Safety;
use tactus_ur::{Bench, Host, Model};

const SOON: Duration = Duration::from_secs(2);

fn ur5e() -> Controller {
    shell::controller(Options {
        locked_for: Duration::from_millis(300),
        ..Options::default()
    })
}

fn refused(controller: &Controller, model: Model, wanted: &[&str]) {
    let text = start(controller, model).err().expect("refused").to_string();
    for word in wanted.iter().chain([&controller.host().as_str()]) {
        assert!(text.contains(word), "expected `{word}` in: {text}");
    }
    assert!(!text.contains('\n'), "one sentence: {text}");
    let world = controller.world();
    assert_eq!(
        (world.programs, world.commands, world.runtime),
        (0, 0, STOPPED),
        "nothing was sent"
    );
}

#[test]
fn starting_moves_nothing_enabling_follows_from_where_the_arm_is_and_torque_off_ends_the_program() {
    let controller = ur5e();
    let before = controller.world().q;
    let mut shell = Shell::of(&controller, Model::Ur5e);
    shell.goal[0] = 1.0;
    shell.rest(Duration::from_millis(300));
    let world = controller.world();
    assert_eq!((world.q, world.programs), (before, 0));
    drop(world);
    assert!(!shell.state.torque);

    let took = shell.enable();
    println!(
        "enabled within {took:?}, of which {:?} load",
        controller.world().options.load
    );
    shell.rest(Duration::from_millis(300));
    let world = controller.world();
    assert_eq!(world.program_error, None);
    assert!(
        world
            .q
            .iter()
            .zip(before)
            .all(|(a, b)| (a - b).abs() < 1e-6),
        "{:?}",
        world.q
    );
    drop(world);

    let from = shell.goal[1];
    for tick in 0..500 {
        shell.goal[1] = from - 0.3 * f64::from(tick) / 500.0;
        shell.tick();
    }
    shell.rest(Duration::from_millis(800));
    assert!(
        (shell.state.q[1] - from + 0.3).abs() < 2e-3,
        "{:?}",
        shell.state.q
    );
    assert!(shell.state.torque && controller.world().runtime == PLAYING);

    shell.arm.set_torque(false).expect("told");
    shell.tick();
    assert!(!shell.state.torque);
    controller.wait("the program has ended", SOON, |w| {
        w.runtime == STOPPED && w.ints_out[25] == 5
    });
    let rests = controller.world().q;
    shell.goal[1] = from;
    shell.rest(Duration::from_millis(200));
    assert_eq!(controller.world().q, rests, "it holds by itself");
    // The next enabling is another program.
    shell.enable();
    assert_eq!(controller.world().programs, 2);
}

#[test]
fn a_protective_stop_ends_following_by_name_and_unlocking_alone_moves_nothing() {
    let controller = ur5e();
    let mut shell = Shell::of(&controller, Model::Ur5e);
    shell.enable();
    shell.drive(0, 0.001, 100);
    assert!(shell.state.torque);
    controller.world().protective_stop();
    let noticed = shell.until("it says so", SOON, |s| !s.state.torque);
    println!("protective stop noticed within {noticed:?}");
    assert!(noticed < Duration::from_millis(50));
    // What could be resumed at the pendant is ended instead, though it is paused only some periods after the stop.
    shell.until("the program is ended", SOON, |_| {
        controller.world().runtime == STOPPED
    });
    let stopped_at = controller.world().q;

    // Enabling is refused while it lasts.
    shell.ask(Duration::from_millis(150));
    assert!(!shell.state.torque && controller.world().programs == 1);

    let host = Host::resolve(&controller.host()).expect("an address");
    let bench = Bench::open(&host).expect("a controller");
    assert_eq!(
        bench.look().expect("a state").safety,
        Safety::PROTECTIVE_STOP
    );
    let early = bench.act(Act::UnlockProtectiveStop);
    if controller.world().safety_bits != 1 {
        let early = early.expect_err("too early").to_string();
        assert!(early.contains("until 5s after"), "{early}");
        std::thread::sleep(Duration::from_millis(350));
        bench.act(Act::UnlockProtectiveStop).expect("unlocked");
    }
    controller.world().resume();
    shell.rest(Duration::from_millis(300));
    assert!(!shell.state.torque, "only an operator enables");
    assert_eq!(controller.world().q, stopped_at);
    shell.enable();
    let world = controller.world();
    assert_eq!(
        (world.programs, world.q),
        (2, stopped_at),
        "it begins where the arm is"
    );
}

#[test]
fn emergency_and_safeguard_stops_end_following_and_nothing_resumes_by_itself() {
    for stop in ["emergency", "safeguard", "power"] {
        let controller = ur5e();
        let mut shell = Shell::of(&controller, Model::Ur5e);
        shell.enable();
        match stop {
            "emergency" => controller.world().emergency_stop(),
            "safeguard" => controller.world().safeguard(true),
            _ => controller.world().robot_mode = 3,
        }
        shell.until(stop, SOON, |s| !s.state.torque);
        shell.until("no program is left", SOON, |_| {
            controller.world().runtime == STOPPED
        });
        let mut world = controller.world();
        world.robot_mode = emulator::RUNNING;
        world.safeguard(false);
        let q = world.q;
        drop(world);
        shell.goal[2] += 0.4;
        shell.rest(Duration::from_millis(300));
        assert!(!shell.state.torque, "{stop}");
        assert_eq!(controller.world().q, q, "{stop}");
    }
}

#[test]
fn a_program_that_is_paused_at_the_pendant_is_not_there_to_be_resumed() {
    let controller = ur5e();
    let mut shell = Shell::of(&controller, Model::Ur5e);
    shell.enable();
    controller.world().pause();
    assert_eq!(controller.world().runtime, PAUSED);
    shell.until("it says so", SOON, |s| !s.state.torque);
    let ended = |_: &Shell| controller.world().runtime == STOPPED;
    shell.until("no program is left", SOON, ended);

    // One of somebody else's is, however long it is paused, and with our last words still in the registers.
    let theirs = "def another():\n  while True:\n    sync()\n  end\nend\n";
    controller.world().begin(theirs);
    controller.world().pause();
    shell.rest(Duration::from_millis(500));
    assert_eq!(controller.world().runtime, PAUSED);
    controller.world().stop();

    // A stop that comes to nothing is tried again.
    shell.enable();
    controller.world().remote = false;
    controller.world().pause();
    shell.rest(Duration::from_millis(1000));
    assert_eq!(controller.world().runtime, PAUSED);
    controller.world().remote = true;
    shell.until("no program is left", 2 * SOON, ended);
}

#[test]
fn a_cut_ends_in_a_hold_and_the_connection_comes_back_without_torque_in_a_new_epoch() {
    for silent in [false, true] {
        let controller = ur5e();
        let mut shell = Shell::of(&controller, Model::Ur5e);
        shell.enable();
        let epoch = shell.state.epoch;
        // On its way at 0.6 rad/s.
        shell.drive(0, 0.0012, 250);
        let target = shell.goal[0];
        match silent {
            true => controller.world().silent = true,
            false => controller.world().network = false,
        }
        let cut = Instant::now();
        let seen = shell.state.captured_at;
        shell.until("it says so", SOON, |s| !s.state.torque);
        println!(
            "cut (silent: {silent}): not following any more after {:?}",
            cut.elapsed()
        );
        assert!(shell.clock.now().since(shell.state.captured_at) > Duration::ZERO);
        if !silent {
            // The controller hears nothing: its program brakes and ends by itself, never past the last command.
            controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
            println!("program ended after {:?}", cut.elapsed());
            assert_eq!(controller.world().ints_out[25], 3);
            assert!(controller.world().q[0] <= target + 1e-6);
        }
        assert!(
            shell.state.captured_at.since(seen) < Duration::from_millis(300),
            "an old state stays old"
        );

        shell.rest(Duration::from_millis(300));
        let mut world = controller.world();
        (world.network, world.silent) = (true, false);
        drop(world);
        let back = shell.until("it is back", Duration::from_secs(5), |s| {
            s.state.epoch != epoch
        });
        println!("back after {back:?}");
        shell.rest(Duration::from_millis(200));
        assert!(!shell.state.torque && shell.state.epoch == epoch + 1);
        assert!(shell.clock.now().since(shell.state.captured_at) < Duration::from_millis(100));
        assert_eq!(shell.arm.counts().reconnections, 1);
        controller.wait("no program is left", SOON, |w| w.runtime == STOPPED);
        shell.enable();
        shell.rest(Duration::from_millis(100));
        assert_eq!(controller.world().program_error, None);
    }
}

#[test]
fn a_driver_that_hangs_or_dies_is_noticed_by_the_program() {
    let controller = ur5e();
    let mut shell = Shell::of(&controller, Model::Ur5e);
    shell.enable();
    // The ticking thread hangs; the link does not speak for it.
    let hung = Instant::now();
    controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
    println!("hung driver: program ended after {:?}", hung.elapsed());
    assert_eq!(controller.world().ints_out[25], 3);
    shell.until("it says so", SOON, |s| !s.state.torque);
    shell.enable();
    drop(shell);
    controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
}

#[test]
fn a_command_that_leaps_ends_the_program_before_it_is_followed() {
    let controller = ur5e();
    let mut shell = Shell::of(&controller, Model::Ur5e);
    shell.enable();
    shell.rest(Duration::from_millis(50));
    let q = controller.world().q;
    shell.goal[3] += 0.4;
    shell.until("it says so", SOON, |s| !s.state.torque);
    controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
    let world = controller.world();
    assert_eq!((world.ints_out[25], world.q), (4, q));
    drop(world);

    // Nor does one begin away from the arm.
    shell.goal = q;
    shell.rest(Duration::from_millis(50));
    shell.goal[3] = q[3] - 0.1;
    shell.ask(Duration::from_secs(1));
    assert!(!shell.state.torque);
    let world = controller.world();
    assert_eq!((world.ints_out[25], world.q), (6, q));
}

#[test]
fn an_enabling_that_nobody_waits_for_any_more_comes_to_nothing() {
    let controller = shell::controller(Options {
        load: Duration::from_millis(600),
        ..Options::default()
    });
    let mut shell = Shell::of(&controller, Model::Ur5e);
    shell.ask(Duration::from_millis(100));
    shell.rest(Duration::from_secs(1));
    assert!(!shell.state.torque);
    controller.wait("the program has ended", SOON, |w| {
        w.programs == 1 && w.runtime == STOPPED
    });
    assert_eq!(controller.world().fastest, 0.0);
    // One that takes too long comes to nothing either, while somebody asks: they are told that it failed.
    controller.world().options.load = Duration::from_millis(1500);
    shell.ask(Duration::from_millis(2500));
    assert!(!shell.state.torque);
    controller.wait("the program has ended", SOON, |w| {
        w.programs == 2 && w.runtime == STOPPED
    });
}

#[test]
fn scaled_down_the_arm_is_slower_and_no_period_is_late() {
    let controller = ur5e();
    let mut shell = Shell::of(&controller, Model::Ur5e);
    controller.world().speed = 0.5;
    shell.enable();
    let before = controller.world().cycles;
    shell.rest(Duration::from_secs(1));
    let cycles = controller.world().cycles - before;
    let counts = shell.arm.counts();
    let share = counts.periods as f64 / cycles as f64;
    assert!((0.4..0.6).contains(&share), "{counts:?} in {cycles} cycles");
    assert!(
        shell.state.torque && counts.late <= counts.periods / 10,
        "{counts:?}"
    );
}

#[test]
fn a_cb3_is_led_at_125_hz() {
    let controller = shell::controller(Options {
        version: [3, 15, 4, 106291],
        rate_hz: 125,
        ..Options::default()
    });
    let mut shell = Shell::of(&controller, Model::Ur5);
    shell.enable();
    let from = shell.goal[5];
    for tick in 0..125 {
        shell.goal[5] = from + 0.2 * f64::from(tick) / 125.0;
        shell.tick();
    }
    shell.rest(Duration::from_millis(700));
    assert!(
        (shell.state.q[5] - from - 0.2).abs() < 5e-3,
        "{:?}",
        shell.state.q
    );
    assert_eq!(shell.arm.info().state_rate_hz, 125.0);
}

#[test]
fn another_robot_software_or_variable_is_refused_by_name() {
    let controller = ur5e();
    refused(
        &controller,
        Model::Ur10e,
        &["the arm is a UR5, expected a ur10e", "device.model"],
    );
    refused(
        &controller,
        Model::Ur5,
        &["software 5.12.0.1101319", "needs 3 (CB3)"],
    );
    let x = shell::controller(Options {
        version: [10, 7, 0, 1],
        dashboard: false,
        ..Options::default()
    });
    refused(
        &x,
        Model::Ur5e,
        &["software 10.7.0.1", "PolyScope X (10) is not supported"],
    );
    for lack in ["input_double_register_29", "output_int_register_24"] {
        let old = shell::controller(Options {
            lacks: [lack.to_owned()].into(),
            ..Options::default()
        });
        refused(
            &old,
            Model::Ur5e,
            &[&format!("does not know the variable `{lack}`")],
        );
    }
    let deaf = shell::controller(Options {
        dashboard: false,
        ..Options::default()
    });
    refused(&deaf, Model::Ur5e, &["port 29999 (dashboard server)"]);
}

#[test]
fn a_second_commander_is_refused_here_and_at_the_controller() {
    let controller = ur5e();
    let mut first = Shell::of(&controller, Model::Ur5e);
    first.enable();
    let second = start(&controller, Model::Ur5e)
        .err()
        .expect("refused")
        .to_string();
    assert!(
        second.contains("is in use by process") && second.contains("one owner"),
        "{second}"
    );
    // From another machine, where no lock is: the controller itself.
    controller.world().options.serial = "20195500001".into();
    let third = start(&controller, Model::Ur5e)
        .err()
        .expect("refused")
        .to_string();
    assert!(
        third.contains("another RTDE client writes `input_int_register_24`"),
        "{third}"
    );
    first.rest(Duration::from_millis(100));
    assert!(first.state.torque, "the first does not notice");
    drop(first);
    controller.world().options.serial = "20195500002".into();
    controller.wait("the program has ended", SOON, |w| w.runtime == STOPPED);
    start(&controller, Model::Ur5e).expect("free again");
}

#[test]
fn in_local_control_nothing_is_sent() {
    let controller = ur5e();
    let mut shell = Shell::of(&controller, Model::Ur5e);
    controller.world().remote = false;
    shell.ask(Duration::from_millis(400));
    assert!(!shell.state.torque);
    let world = controller.world();
    assert_eq!((world.programs, world.ignored), (0, 0));
}

#[test]
fn another_program_is_left_alone() {
    let controller = ur5e();
    let mut shell = Shell::of(&controller, Model::Ur5e);
    controller
        .world()
        .begin("def another():\n  while True:\n    sync()\n  end\nend\n");
    shell.rest(Duration::from_millis(50));
    shell.ask(Duration::from_millis(500));
    assert!(!shell.state.torque);
    let world = controller.world();
    assert_eq!(
        (world.programs, world.runtime),
        (1, PLAYING),
        "{:?}",
        world.program_error
    );
}

#[test]
fn a_wrong_host_is_one_sentence() {
    let of = |name: &str| match Host::resolve(name).and_then(|host| Bench::open(&host)) {
        Ok(_) => panic!("{name} is no robot"),
        Err(e) => e.to_string(),
    };
    assert!(of("no-such-robot.invalid").contains("host `no-such-robot.invalid`"));
    assert!(of("127.1.2.3").contains("host 127.1.2.3, port 30004 (RTDE)"));
    let other = TcpListener::bind((Ipv4Addr::new(127, 1, 2, 4), 30004)).expect("a port");
    let serve = std::thread::Builder::new().spawn(move || {
        let (mut stream, _) = other.accept().expect("a client");
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").expect("sent");
        std::thread::sleep(Duration::from_millis(100));
    });
    let text = of("127.1.2.4");
    assert!(text.contains("host 127.1.2.4: RTDE"), "{text}");
    serve.expect("a thread").join().expect("served");
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_ours_always_reads() {
    let controller = ur5e();
    let shell = Shell::of(&controller, Model::Ur5e);
    // Nobody ticks: the link reads nevertheless.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(controller.world().dropped, 0);
    drop(shell);
}
