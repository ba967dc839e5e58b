//! Figures of the cell: the expert's success and speed, joint motion, and milliseconds per step and per picture.
//! `survey [DIR [EPISODES]]`: with a directory it also writes pictures of both cameras there.

use std::path::PathBuf;
use std::time::Instant;

use tactus_sim::SimError;
use tactus_sim::record::{Outcome, run_expert};
use tactus_sim::render::Renderer;
use tactus_sim::scenario::{Scenario, StartPoses};
use tactus_sim::scene::{CAMERA_NAMES, STEPS_PER_PERIOD};
use tactus_sim::task::TaskKind;
use tactus_sim::world::World;

fn main() -> Result<(), SimError> {
    let pictures = std::env::args_os().nth(1).map(PathBuf::from);
    let mut world = World::new()?;
    for kind in TaskKind::ALL {
        for starts in [StartPoses::Narrow, StartPoses::Wide] {
            expert(&mut world, kind, starts)?;
        }
    }
    let mut renderer = Renderer::new()?;
    for seed in 0..12 {
        let mut period = 0;
        run_expert(
            &mut world,
            &Scenario::sample(900_000 + seed, StartPoses::Narrow).looking(seed % 2 == 1),
            TaskKind::ALL[seed as usize / 2 % 2],
            |label| *label,
            |world, _| {
                if let Some(directory) = &pictures
                    && period % 12 == 0
                {
                    renderer.show(&world.snapshot())?;
                    for (camera, name) in CAMERA_NAMES.iter().enumerate() {
                        let path = directory.join(format!("{seed:02}-{period:03}-{camera}.jpg"));
                        std::fs::write(&path, renderer.jpeg(name)?)
                            .map_err(|source| SimError::Write { path, source })?;
                    }
                }
                period += 1;
                Ok(())
            },
        )?;
    }
    let snapshot = world.snapshot();
    for camera in ["scene", "wrist"] {
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..300 {
            let started = Instant::now();
            renderer.show(&snapshot)?;
            renderer.rgb(camera)?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        println!(
            "render {camera}: least {:.2} ms, p50 {:.2} ms, p90 {:.2} ms",
            times[0], times[150], times[270]
        );
    }
    if let Some(directory) = &pictures {
        let mut portrait = Renderer::for_portraits(1280, 960)?;
        portrait.show(&snapshot)?;
        let path = directory.join("portrait.jpg");
        std::fs::write(&path, portrait.jpeg("portrait")?)
            .map_err(|source| SimError::Write { path, source })?;
    }
    let started = Instant::now();
    for _ in 0..200 {
        renderer.jpeg("scene")?;
    }
    println!(
        "render and compress scene: {:.2} ms",
        started.elapsed().as_secs_f64() * 5.0
    );
    Ok(())
}

fn expert(world: &mut World, kind: TaskKind, starts: StartPoses) -> Result<(), SimError> {
    let (mut done, mut jump, mut speed, mut wall) = (Vec::new(), [0.0f64; 6], [0.0f64; 6], 0.0);
    let mut accel = [0.0f64; 6];
    let mut rows = 0;
    let episodes: u64 = std::env::args()
        .nth(2)
        .and_then(|text| text.parse().ok())
        .unwrap_or(200);
    for seed in 0..episodes {
        let scenario = Scenario::sample(900_000 + seed, starts);
        let mut last: Option<[f64; 6]> = None;
        let mut last_step = [0.0; 6];
        let started = Instant::now();
        let outcome = run_expert(
            world,
            &scenario,
            kind,
            |label| *label,
            |_, measured| {
                rows += 1;
                let previous = last.unwrap_or(scenario.q_rad);
                for joint in 0..6 {
                    let step = measured.label.q_rad[joint] - previous[joint];
                    jump[joint] = jump[joint].max(step.abs());
                    accel[joint] = accel[joint].max((step - last_step[joint]).abs());
                    last_step[joint] = step;
                    speed[joint] = speed[joint].max(measured.state.dq_rad_per_sec[joint].abs());
                }
                last = Some(measured.label.q_rad);
                Ok(())
            },
        )?;
        wall += started.elapsed().as_secs_f64();
        match outcome {
            Outcome::Done { periods } => done.push(periods),
            other => println!("seed {}: {other:?}", scenario.seed),
        }
    }
    done.sort_unstable();
    println!(
        "{kind:?}, {starts:?}: {} of {episodes} done, median {} periods, p90 {}, max {}",
        done.len(),
        done[done.len() / 2],
        done[done.len() * 9 / 10],
        done[done.len() - 1],
    );
    println!("  largest change of a joint goal per period (rad): {jump:.3?}");
    println!("  largest change of that change (rad): {accel:.3?}");
    println!("  largest joint speed (rad/s): {speed:.2?}");
    println!(
        "  {:.4} ms per physics step",
        wall * 1e3 / (rows * STEPS_PER_PERIOD) as f64
    );
    Ok(())
}
