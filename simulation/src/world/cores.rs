//! The cores of a machine: their tasks, timers, and turns of their drivers.
//!
//! As in the real runtime, a core runs whatever tasks are ready, and only then lets its driver look at
//! timers, sockets and the wakes of other cores. A task that wakes itself runs next, one that is woken by
//! another runs last.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Wake, Waker},
};

use runtime::simulation::Task;

thread_local! {
    /// Who was woken since the latest step, as core and task.
    static WOKEN: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
}

struct TaskWaker {
    core: usize,
    task: usize,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        // While a thread ends, the tasks that are dropped may wake others.
        let _ = WOKEN.try_with(|woken| woken.borrow_mut().push((self.core, self.task)));
    }
}

/// What wakes a task.
pub fn waker(core: usize, task: usize) -> Waker {
    Waker::from(Arc::new(TaskWaker { core, task }))
}

/// All cores.
pub struct Cores {
    all: Vec<Core>,
    /// The one that runs.
    pub current: usize,
}

#[derive(Default)]
struct Core {
    tasks: Vec<Slot>,
    ready: VecDeque<usize>,
    /// Woken by other cores, which the driver finds out.
    foreign: Vec<usize>,
    after_turn: Vec<Waker>,
    timers: BTreeMap<(u64, u64), Waker>,
    timers_set: u64,
    running: Option<usize>,
}

struct Slot {
    task: Option<Task>,
    is_queued: bool,
}

impl Cores {
    /// So many cores without tasks.
    pub fn new(cores: usize) -> Self {
        WOKEN.take();
        Self {
            all: (0..cores).map(|_| Core::default()).collect(),
            current: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Starts a task, which is ready at once.
    pub fn spawn(&mut self, core: usize, task: Task) {
        let core = &mut self.all[core];
        core.ready.push_back(core.tasks.len());
        core.tasks.push(Slot {
            task: Some(task),
            is_queued: true,
        });
    }

    /// The cores that have something to do now.
    pub fn able(&self, now_ns: u64, has_report: impl Fn(usize) -> bool) -> Vec<usize> {
        let is_able = |(number, core): &(usize, &Core)| {
            !core.ready.is_empty()
                || !core.foreign.is_empty()
                || !core.after_turn.is_empty()
                || core
                    .timers
                    .keys()
                    .next()
                    .is_some_and(|(at, _)| *at <= now_ns)
                || has_report(*number)
        };
        self.all
            .iter()
            .enumerate()
            .filter(is_able)
            .map(|(number, _)| number)
            .collect()
    }

    /// The next ready task of a core; with `pick` any of them.
    pub fn next_task(&mut self, core: usize, pick: Option<u64>) -> Option<usize> {
        let ready = &mut self.all[core].ready;
        match pick {
            Some(pick) if !ready.is_empty() => ready.remove((pick % ready.len() as u64) as usize),
            _ => ready.pop_front(),
        }
    }

    /// Takes a task to run it.
    pub fn take(&mut self, core: usize, task: usize) -> Option<Task> {
        let core = &mut self.all[core];
        core.running = Some(task);
        let slot = &mut core.tasks[task];
        slot.is_queued = false;
        slot.task.take()
    }

    /// It waits again.
    pub fn put_back(&mut self, core: usize, number: usize, task: Task) {
        self.all[core].tasks[number].task = Some(task);
    }

    /// Queues those who were woken by what this core did, or by what came from outside.
    pub fn settle_wakes(&mut self, by: Option<usize>) {
        for (core, task) in WOKEN.take() {
            let is_itself = self.all[core].running == Some(task);
            let core_of_task = &mut self.all[core];
            if Some(core) != by {
                core_of_task.foreign.push(task);
            } else {
                core_of_task.enqueue(task, is_itself);
            }
        }
        if let Some(by) = by {
            self.all[by].running = None;
        }
    }

    /// The driver's turn: returns who is to be woken.
    pub fn turn(&mut self, core: usize, now_ns: u64) -> Vec<Waker> {
        let core = &mut self.all[core];
        for task in std::mem::take(&mut core.foreign) {
            core.enqueue(task, false);
        }
        let later = core.timers.split_off(&(now_ns + 1, 0));
        let due = std::mem::replace(&mut core.timers, later);
        let mut wakers: Vec<_> = due.into_values().collect();
        wakers.append(&mut core.after_turn);
        wakers
    }

    /// Takes all tasks, so that nothing runs any more.
    pub fn stop(&mut self) -> Vec<Task> {
        let slots = self.all.iter_mut().flat_map(|core| &mut core.tasks);
        slots.filter_map(|slot| slot.task.take()).collect()
    }

    /// Sets a timer of the core that runs.
    pub fn set_timer(&mut self, at_ns: u64, waker: Waker) {
        let core = &mut self.all[self.current];
        core.timers_set += 1;
        core.timers.insert((at_ns, core.timers_set), waker);
    }

    /// Wakes when the driver of the core that runs has had a turn.
    pub fn after_turn(&mut self, waker: Waker) {
        self.all[self.current].after_turn.push(waker);
    }

    /// The time of the next timer.
    pub fn next_timer_ns(&self) -> Option<u64> {
        let firsts = self.all.iter().filter_map(|core| core.timers.keys().next());
        firsts.map(|(at_ns, _)| *at_ns).min()
    }
}

impl Core {
    fn enqueue(&mut self, task: usize, is_first: bool) {
        let slot = &mut self.tasks[task];
        if slot.task.is_none() || std::mem::replace(&mut slot.is_queued, true) {
            return;
        }
        match is_first {
            true => self.ready.push_front(task),
            false => self.ready.push_back(task),
        }
    }
}
