package adminq

// commandTable is every command that the firmware answers. What is not in it is an unknown opcode: CodeSrch.
func commandTable() map[Opcode]command {
	table := make(map[Opcode]command)
	for _, part := range []map[Opcode]command{
		generalCommands(), switchCommands(), filterCommands(), schedulerCommands(), linkCommands(), nvmCommands(),
		lldpCommands(), unsupportedCommands(),
	} {
		for op, cmd := range part {
			table[op] = cmd
		}
	}
	return table
}

func generalCommands() map[Opcode]command {
	return map[Opcode]command{
		OpGetVersion:               {direct, 0, anyone, getVersion},
		OpDriverVersion:            {in, 0, anyone, driverVersion},
		OpQueueShutdown:            {direct, 0, anyone, queueShutdown},
		OpRequestResource:          {direct, 0, pfOnly, requestResource},
		OpReleaseResource:          {direct, 0, pfOnly, releaseResource},
		OpListFunctionCapabilities: {out, 0, anyone, listCapabilities},
		OpListDeviceCapabilities:   {out, 0, anyone, listCapabilities},
		OpReadMAC:                  {out, macAddressesSize, pfOnly, readMAC},
		OpWriteMAC:                 {direct, 0, pfOnly, writeMAC},
		OpClearPXE:                 {direct, 0, pfOnly, clearPXE},
		OpReadRxControl:            {direct, 0, pfOnly, readRxControl},
		OpWriteRxControl:           {direct, 0, pfOnly, writeRxControl},
		OpSendToPF:                 {inMaybe, 0, vfOnly, sendToPF},
		OpSendToVF:                 {inMaybe, 0, pfOnly, sendToVF},
		OpSendToPeer:               {inMaybe, 0, pfOnly, sendToPeer},
		OpWriteProfile:             {inOut, sectionHeaderSize, pfOnly, writeProfile},
		OpListProfiles:             {out, 4, pfOnly, listProfiles},
		OpReadDebugRegister:        {direct, 0, pfOnly, readDebugRegister},
		OpWriteDebugRegister:       {direct, 0, pfOnly, writeDebugRegister},
		OpModifyDebugRegister:      {direct, 0, pfOnly, modifyDebugRegister},
		OpDumpInternals:            {out, 0, pfOnly, dumpInternals},
		OpWriteAlternate:           {direct, 0, pfOnly, writeAlternate},
		OpReadAlternate:            {direct, 0, pfOnly, readAlternate},
		OpWriteAlternateIndirect:   {inRD, 0, pfOnly, writeAlternateIndirect},
		OpReadAlternateIndirect:    {outRD, 0, pfOnly, readAlternateIndirect},
		OpAlternateWriteDone:       {direct, 0, pfOnly, alternateWriteDone},
		OpSetAlternateMode:         {direct, 0, pfOnly, setAlternateMode},
		OpClearAlternate:           {direct, 0, pfOnly, clearAlternate},
	}
}

func switchCommands() map[Opcode]command {
	return map[Opcode]command{
		OpGetSwitchConfig:     {out, 2 * elementSize, pfOnly, getSwitchConfig},
		OpAddStatistics:       {direct, 0, pfOnly, addStatistics},
		OpRemoveStatistics:    {direct, 0, pfOnly, removeStatistics},
		OpSetPortParameters:   {direct, 0, pfOnly, setPortParameters},
		OpGetSwitchResources:  {out, 0, pfOnly, getSwitchResources},
		OpSetSwitchConfig:     {direct, 0, pfOnly, setSwitchConfig},
		OpAddVSI:              {inOut, VSIPropertiesSize, pfOnly, addVSI},
		OpUpdateVSI:           {inOut, VSIPropertiesSize, pfOnly, updateVSI},
		OpGetVSI:              {out, VSIPropertiesSize, pfOnly, getVSI},
		OpAddPV:               {direct, 0, pfOnly, wrongMode},
		OpUpdatePV:            {direct, 0, pfOnly, wrongMode},
		OpGetPV:               {direct, 0, pfOnly, wrongMode},
		OpAddVEB:              {direct, 0, pfOnly, addVEB},
		OpGetVEB:              {direct, 0, pfOnly, getVEB},
		OpDeleteElement:       {direct, 0, pfOnly, deleteElement},
		OpAddTag:              {direct, 0, pfOnly, wrongMode},
		OpRemoveTag:           {direct, 0, pfOnly, wrongMode},
		OpAddMulticastETag:    {inMaybe, 0, pfOnly, wrongMode},
		OpRemoveMulticastETag: {inMaybe, 0, pfOnly, wrongMode},
		OpUpdateTag:           {direct, 0, pfOnly, wrongMode},
	}
}

func filterCommands() map[Opcode]command {
	return map[Opcode]command{
		OpAddMACVLAN:          {inOut, macElementSize, pfOnly, addMACVLAN},
		OpRemoveMACVLAN:       {inOut, macElementSize, pfOnly, removeMACVLAN},
		OpAddVLAN:             {inOut, vlanElement, pfOnly, addVLAN},
		OpRemoveVLAN:          {inOut, vlanElement, pfOnly, removeVLAN},
		OpSetPromiscuous:      {direct, 0, pfOnly, setPromiscuous},
		OpAddControlFilter:    {direct, 0, pfOnly, addControlFilter},
		OpRemoveControlFilter: {direct, 0, pfOnly, removeControlFilter},
		OpAddCloudFilters:     {inOut, cloudElement, pfOnly, addCloudFilters},
		OpRemoveCloudFilters:  {inOut, cloudElement, pfOnly, removeCloudFilters},
		OpReplaceCloudFilters: {inOut, replaceInputSize, pfOnly, replaceCloudFilters},
		OpAddMirrorRule:       {inMaybe, 0, pfOnly, addMirrorRule},
		OpDeleteMirrorRule:    {inMaybe, 0, pfOnly, deleteMirrorRule},
		OpAddUDPTunnel:        {direct, 0, pfOnly, addUDPTunnel},
		OpDeleteUDPTunnel:     {direct, 0, pfOnly, deleteUDPTunnel},
	}
}

func schedulerCommands() map[Opcode]command {
	return map[Opcode]command{
		OpConfigureVSIBandwidth:       {direct, 0, pfOnly, configureVSIBandwidth},
		OpConfigureVSIETSLimit:        {inOut, 64, pfOnly, configureVSIETSLimit},
		OpConfigureVSITCBandwidth:     {inOut, 32, pfOnly, configureVSITCBandwidth},
		OpQueryVSIBandwidth:           {out, 64, pfOnly, queryVSIBandwidth},
		OpQueryVSIETS:                 {out, 32, pfOnly, queryVSIETS},
		OpConfigureSwitchBandwidth:    {direct, 0, pfOnly, configureSwitchBandwidth},
		OpEnableSwitchETS:             {in, 128, pfOnly, configureETS},
		OpModifySwitchETS:             {in, 128, pfOnly, configureETS},
		OpDisableSwitchETS:            {in, 128, pfOnly, configureETS},
		OpConfigureSwitchETSLimit:     {in, 64, pfOnly, configureSwitchETSLimit},
		OpConfigureSwitchTCBandwidth:  {in, 32, pfOnly, configureSwitchTCBandwidth},
		OpQuerySwitchETS:              {out, 64, pfOnly, querySwitchETS},
		OpQueryPortETS:                {out, 68, pfOnly, queryPortETS},
		OpQuerySwitchBandwidth:        {out, 32, pfOnly, querySwitchBandwidth},
		OpSuspendPortTx:               {direct, 0, pfOnly, suspendPort},
		OpResumePortTx:                {direct, 0, pfOnly, resumePort},
		OpConfigurePartitionBandwidth: {in, partitionSize, pfOnly, configurePartition},
		OpQueryHMCProfile:             {direct, 0, pfOnly, queryHMCProfile},
		OpSetHMCProfile:               {direct, 0, pfOnly, setHMCProfile},
	}
}

func linkCommands() map[Opcode]command {
	return map[Opcode]command{
		OpGetPHYAbilities:         {out, phyAbilitiesSize, pfOnly, getPHYAbilities},
		OpSetPHYConfig:            {direct, 0, pfOnly, setPHYConfig},
		OpSetMACConfig:            {direct, 0, pfOnly, setMACConfig},
		OpRestartAN:               {direct, 0, pfOnly, restartAN},
		OpGetLinkStatus:           {direct, 0, pfOnly, getLinkStatus},
		OpSetEventMask:            {direct, 0, pfOnly, setEventMask},
		OpGetLocalAdvertisement:   {direct, 0, pfOnly, getAdvertisement},
		OpSetLocalAdvertisement:   {direct, 0, pfOnly, setAdvertisement},
		OpGetPartnerAdvertisement: {direct, 0, pfOnly, getAdvertisement},
		OpSetLoopback:             {direct, 0, pfOnly, setLoopback},
		OpSetPHYDebug:             {direct, 0, pfOnly, setPHYDebug},
		OpRunPHYActivity:          {direct, 0, pfOnly, runPHYActivity},
		OpSetPHYRegister:          {direct, 0, pfOnly, setPHYRegister},
		OpGetPHYRegister:          {direct, 0, pfOnly, getPHYRegister},
	}
}

func nvmCommands() map[Opcode]command {
	return map[Opcode]command{
		OpReadNVM:            {out, 0, pfOnly, readNVM},
		OpEraseNVM:           {direct, 0, pfOnly, eraseNVM},
		OpUpdateNVM:          {inMaybe, 0, pfOnly, updateNVM},
		OpReadNVMConfig:      {out, 0, pfOnly, readNVMConfig},
		OpWriteNVMConfig:     {in, 0, pfOnly, writeNVMConfig},
		OpNVMUpdateInProcess: {direct, 0, pfOnly, nvmUpdateInProcess},
		OpRollbackRevision:   {direct, 0, pfOnly, rollbackRevision},
		OpOEMPostUpdate:      {inMaybe, 0, pfOnly, oemPostUpdate},
	}
}

func lldpCommands() map[Opcode]command {
	return map[Opcode]command{
		OpGetLLDPMIB:        {out, 0, pfOnly, getMIB},
		OpConfigureMIBEvent: {direct, 0, pfOnly, configureMIBEvent},
		OpAddLLDPTLV:        {inOut, 0, pfOnly, addTLV},
		OpUpdateLLDPTLV:     {inOut, 0, pfOnly, updateTLV},
		OpDeleteLLDPTLV:     {in, 0, pfOnly, deleteTLV},
		OpStopLLDP:          {direct, 0, pfOnly, stopLLDP},
		OpStartLLDP:         {direct, 0, pfOnly, startLLDP},
		OpGetCEEConfig:      {out, 0, pfOnly, getCEE},
		OpSetLocalMIB:       {in, 0, pfOnly, setLocalMIB},
		OpStopStartAgent:    {direct, 0, pfOnly, stopStartAgent},
		OpRestoreLLDP:       {direct, 0, pfOnly, restoreLLDP},
		OpIgnorePFC:         {direct, 0, pfOnly, ignorePFC},
		OpDCBUpdated:        {direct, 0, pfOnly, accept},
		OpSetDCBParameters:  {direct, 0, pfOnly, setDCBParameters},
	}
}

// unsupportedCommands are those of the X722 (proxies, wake-up filters, RSS by command), of manufacturers, and those that
// nobody sends: a driver that sends one has mistaken the card.
func unsupportedCommands() map[Opcode]command {
	table := make(map[Opcode]command)
	for _, op := range []Opcode{
		OpSetPFContext, OpSetProxyConfig, OpSetNSProxyTable, OpSetWoLFilter, OpGetWakeReason, OpClearWoLFilters,
		OpUpdateVEB, OpGetPHYWoLCapabilities, OpUploadPHYFirmware, OpThermalSensor, OpSetRSSKey, OpSetRSSLUT,
		OpGetRSSKey, OpGetRSSLUT, OpOEMParameterChange, OpOEMStateChange, OpOEMInitOCSD, OpOEMInitOCBB,
	} {
		table[op] = command{anyForm, 0, anyone, unsupported}
	}
	return table
}
