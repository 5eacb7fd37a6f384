//! Local sandbox or networked worker: where may this tool run at all?
